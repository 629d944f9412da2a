//! `--blkio-weight*`, `--device-{read,write}-{bps,iops}`: limits of block devices, named by path.

use serde::{Deserialize, Serialize};

use super::size;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blkio {
    /// 10 to 1000.
    pub weight: Option<u16>,
    pub weight_device: Vec<DeviceRate>,
    /// Bytes a second.
    pub read_bps: Vec<DeviceRate>,
    pub write_bps: Vec<DeviceRate>,
    /// Operations a second.
    pub read_iops: Vec<DeviceRate>,
    pub write_iops: Vec<DeviceRate>,
}

/// A number for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    pub path: String,
    pub rate: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlkioError {
    #[error("bad format: {0}")]
    Format(String),
    #[error("bad format for device path: {0}")]
    Path(String),
    #[error("invalid weight for device: {0}")]
    WeightDevice(String),
    #[error("range of blkio weight is from 10 to 1000")]
    Weight,
    #[error(
        "invalid rate for device: {0}. The correct format is <device-path>:<number>[<unit>]. Number must be a \
         positive integer. Unit is optional and can be kb, mb, or gb"
    )]
    Bps(String),
    #[error(
        "invalid rate for device: {0}. The correct format is <device-path>:<number>. Number must be a positive \
         integer"
    )]
    Iops(String),
}

impl DeviceRate {
    fn split(text: &str) -> Result<(String, &str), BlkioError> {
        let (path, number) = text.split_once(':').ok_or_else(|| BlkioError::Format(text.to_owned()))?;
        if path.is_empty() || number.is_empty() || number.contains(':') {
            return Err(BlkioError::Format(text.to_owned()));
        }
        if !path.starts_with("/dev/") || path.split('/').any(|part| part == "..") {
            return Err(BlkioError::Path(text.to_owned()));
        }
        Ok((path.to_owned(), number))
    }

    /// `PATH:WEIGHT`; 0 takes a weight back.
    pub fn parse_weight(text: &str) -> Result<Self, BlkioError> {
        let (path, number) = Self::split(text)?;
        match number.parse() {
            Ok(rate @ (0 | 10..=1000)) => Ok(Self { path, rate }),
            _ => Err(BlkioError::WeightDevice(text.to_owned())),
        }
    }

    /// `PATH:SIZE` a second.
    pub fn parse_bps(text: &str) -> Result<Self, BlkioError> {
        let (path, number) = Self::split(text)?;
        match size::parse_bytes(number) {
            Ok(rate) => Ok(Self { path, rate: rate.unsigned_abs() }),
            Err(_) => Err(BlkioError::Bps(text.to_owned())),
        }
    }

    /// `PATH:NUMBER` a second.
    pub fn parse_iops(text: &str) -> Result<Self, BlkioError> {
        let (path, number) = Self::split(text)?;
        match number.parse() {
            Ok(rate) => Ok(Self { path, rate }),
            Err(_) => Err(BlkioError::Iops(text.to_owned())),
        }
    }
}

/// `--blkio-weight`; 0 is none.
pub fn checked_weight(weight: u16) -> Result<Option<u16>, BlkioError> {
    match weight {
        0 => Ok(None),
        10..=1000 => Ok(Some(weight)),
        _ => Err(BlkioError::Weight),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!(DeviceRate::parse_weight("/dev/sda:200").unwrap().rate, 200);
        assert!(DeviceRate::parse_weight("/dev/sda:5").is_err());
        assert_eq!(DeviceRate::parse_bps("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert_eq!(DeviceRate::parse_iops("/dev/sda:1000").unwrap().rate, 1000);
        for text in ["/dev/sda", "/dev/sda:", ":1", "sda:1", "/dev/sda:-1", "/dev/sda:1:2", "/dev/../x:1"] {
            assert!(DeviceRate::parse_bps(text).is_err(), "{text:?}");
            assert!(DeviceRate::parse_iops(text).is_err(), "{text:?}");
        }
        assert_eq!(checked_weight(0), Ok(None));
        assert_eq!(checked_weight(9), Err(BlkioError::Weight));
        assert_eq!(checked_weight(1000), Ok(Some(1000)));
    }
}
