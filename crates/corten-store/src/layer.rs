//! layer.json: what was counted while a layer was unpacked, so that nobody has to count again.

use corten_oci::DiffId;
use serde::{Deserialize, Serialize};

use crate::error::{Result, SysError};
use crate::store::{LAYERS, Store};
use crate::sys::Dir;
use crate::unpack::{Skipped, Unpacked};

pub(crate) const RECORD: &str = "layer.json";
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerRecord {
    pub version: u32,
    pub diff_id: DiffId,
    pub entries: u64,
    /// bytes of all files, holes counted
    pub size_bytes: u64,
    #[serde(default, skip_serializing_if = "Skipped::is_empty")]
    pub skipped: Skipped,
}

impl LayerRecord {
    pub(crate) fn of(unpacked: &Unpacked) -> LayerRecord {
        LayerRecord {
            version: VERSION,
            diff_id: unpacked.diff_id.clone(),
            entries: unpacked.entries,
            size_bytes: unpacked.file_bytes,
            skipped: unpacked.skipped.clone(),
        }
    }

    /// Into the layer's directory, which is not in its place yet: no need to write beside.
    pub(crate) fn write(&self, dir: &Dir) -> Result<(), SysError> {
        dir.write_new(RECORD, &serde_json::to_vec(self).unwrap_or_default())
    }

    pub(crate) fn read(dir: &Dir, name: &str) -> Result<Option<LayerRecord>> {
        let bytes = dir.read(name, 512, 1 << 20)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

impl Store {
    /// What was counted when a layer was unpacked; `None` if it is not here.
    pub fn layer_record(&self, layer: &DiffId) -> Result<Option<LayerRecord>> {
        let name = format!("{LAYERS}/{}/{RECORD}", layer.hex());
        LayerRecord::read(&self.dir, &name)
    }
}
