//! Where a container's log goes, and what is noted beside each line: `--log-driver` and `--log-opt`, with
//! what the record says of the container.

use std::collections::BTreeMap;

use crate::config::log::{Driver, Files, LogError};
use crate::record::Record;

/// Everything that the writer knows of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sink {
    pub(crate) driver: Driver,
    pub(crate) non_blocking: bool,
    /// The labels and variables of `--log-opt labels`, `env`, and the tag.
    pub(crate) attrs: BTreeMap<String, String>,
    pub(crate) tag: String,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image: String,
}

impl Sink {
    /// `None` if no log is kept.
    pub(crate) fn of(record: &Record) -> Result<Option<Self>, LogError> {
        let said = record.config.log.parsed()?;
        if said.driver == Driver::None {
            return Ok(None);
        }
        let mut attrs = BTreeMap::new();
        for name in &said.labels {
            if let Some(value) = record.config.labels.get(name) {
                attrs.insert(name.clone(), value.clone());
            }
        }
        for name in &said.env {
            let value = record.env.iter().rev().find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
            if let Some(value) = value {
                attrs.insert(name.clone(), value.to_owned());
            }
        }
        let tag = said.tag.as_deref().unwrap_or("{{.ID}}");
        let tag = expand(tag, record).ok_or_else(|| LogError::Tag(tag.to_owned()))?;
        if said.tag.is_some() {
            attrs.insert("tag".to_owned(), tag.clone());
        }
        Ok(Some(Self {
            driver: said.driver,
            non_blocking: said.non_blocking,
            attrs,
            tag,
            id: record.id.clone(),
            name: record.name.clone(),
            image: record.config.image.clone(),
        }))
    }

    /// The newest file, if the driver has files.
    pub(crate) fn file_name(&self) -> Option<&'static str> {
        file_name(&self.driver)
    }

    pub(crate) fn files(&self) -> Files {
        match self.driver {
            Driver::JsonFile(files) | Driver::Local(files) => files,
            Driver::None | Driver::Journald => Files::ENDLESS,
        }
    }

    /// The attributes as a JSON object; nothing if there are none.
    pub(crate) fn attrs_json(&self) -> String {
        if self.attrs.is_empty() {
            return String::new();
        }
        serde_json::to_string(&self.attrs).unwrap_or_default()
    }
}

pub(crate) fn file_name(driver: &Driver) -> Option<&'static str> {
    match driver {
        Driver::JsonFile(_) => Some("log.json"),
        Driver::Local(_) => Some("log.local"),
        Driver::None | Driver::Journald => None,
    }
}

/// Fills in Docker's fields of a tag; `None` if there is another one.
fn expand(tag: &str, record: &Record) -> Option<String> {
    let short = |id: &str| id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect::<String>();
    let mut text = String::new();
    let mut rest = tag;
    while let Some((before, after)) = rest.split_once("{{") {
        let (field, behind) = after.split_once("}}")?;
        text.push_str(before);
        text.push_str(&match field.trim() {
            ".ID" => short(&record.id),
            ".FullID" => record.id.clone(),
            ".Name" => record.name.clone(),
            ".ImageID" => short(&record.image_id),
            ".ImageFullID" => record.image_id.clone(),
            ".ImageName" => record.config.image.clone(),
            ".DaemonName" => "corten".to_owned(),
            _ => return None,
        });
        rest = behind;
    }
    Some(text + rest)
}
