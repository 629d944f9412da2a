//! Containers, images and volumes as the user knows them

pub mod config;
