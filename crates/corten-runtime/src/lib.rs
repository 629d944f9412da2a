//! A container from its specification: plan, apply, init
