//! Blobs, layers, images, leases; unpack and diff
