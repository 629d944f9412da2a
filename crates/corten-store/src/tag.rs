//! One more name for an image.

use corten_oci::Reference;
use corten_oci::layout::annotation;

use crate::error::{Result, StoreError};
use crate::index::{name_of, take_name, unname};
use crate::resolve::names_of;
use crate::store::Store;

impl Store {
    /// `source` is what `resolve` takes. The name moves from the image that had it.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<()> {
        if target.digest().is_some() {
            return Err(StoreError::TagWithDigest(target.familiar()));
        }
        let target = target.clone().with_default_tag();
        let lock = self.lock_exclusive()?;
        let mut index = self.index()?;
        let source = self.find(&index, source)?;
        if names_of(&index, &source).contains(&target) {
            return Ok(());
        }
        take_name(&mut index, &target);
        let mut entry = source.clone();
        unname(&mut entry);
        entry.annotations.insert(annotation::REF_NAME.into(), target.to_string());
        index.manifests.retain(|other| other.digest != source.digest || name_of(other).is_some());
        index.manifests.push(entry);
        Ok(self.replace_index(&lock, &index)?)
    }
}
