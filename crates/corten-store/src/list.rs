//! All images, each once.

use corten_oci::{Descriptor, Reference};

use crate::error::Result;
use crate::resolve::{Image, names_of};
use crate::store::Store;

/// One entry of the list. An image that cannot be read does not hide the others.
#[derive(Debug)]
pub struct Listed {
    pub descriptor: Descriptor,
    /// none: untagged
    pub names: Vec<Reference>,
    pub image: Result<Image>,
}

impl Store {
    /// In the order in which they came, the last one last.
    pub fn images(&self) -> Result<Vec<Listed>> {
        let index = self.index()?;
        let mut listed: Vec<Listed> = Vec::new();
        for entry in &index.manifests {
            if listed.iter().any(|known| known.descriptor.digest == entry.digest) {
                continue;
            }
            let names = names_of(&index, entry);
            let shown = names.first().map_or_else(|| entry.digest.to_string(), Reference::familiar);
            let image = self.image(&shown, entry, names.clone(), None).and_then(|image| self.sized(image));
            listed.push(Listed { descriptor: entry.clone(), names, image });
        }
        Ok(listed)
    }

    /// Counts the size where index.json does not note it.
    fn sized(&self, mut image: Image) -> Result<Image> {
        if image.size_bytes.is_none() {
            let mut total = 0;
            for layer in image.diff_ids() {
                match self.layer_record(layer)? {
                    Some(record) => total += record.size_bytes,
                    None => return Ok(image),
                }
            }
            image.size_bytes = Some(total);
        }
        Ok(image)
    }
}
