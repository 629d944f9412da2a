//! The image-spec's own cases (moved out of its Go tests): each to pass or to fail.

use std::path::Path;

use corten_oci::layout::ImageLayout;
use corten_oci::{Descriptor, Document, ImageConfig};

#[derive(serde::Deserialize)]
struct Case {
    field: String,
    json: String,
    fail: bool,
    comment: String,
}

/// The schema of 1.0 wants one layer at least; image-spec 1.1 lets an artifact have none, and Docker makes
/// images without layers from `FROM scratch`.
const ACCEPTED_BY_US: &[&str] = &["empty layer, expected at least one"];

#[test]
fn cases_of_the_image_spec() {
    let corpus =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/corpus/image-spec/cases.json");
    let corpus = if corpus.exists() { corpus } else { "/work/shared/corpus/image-spec/cases.json".into() };
    let Ok(text) = std::fs::read(&corpus) else {
        eprintln!("skipped: {} is not here", corpus.display());
        return;
    };
    let cases: Vec<Case> = serde_json::from_slice(&text).unwrap();
    let mut wrong = Vec::new();
    for case in &cases {
        let bytes = case.json.as_bytes();
        let verdict = match case.field.as_str() {
            "descriptor" => serde_json::from_slice::<Descriptor>(bytes)
                .map_err(|e| e.to_string())
                .and_then(|d| d.validate().map_err(|e| e.to_string())),
            "config" => ImageConfig::parse(bytes).map(drop).map_err(|e| e.to_string()),
            "imageLayout" => ImageLayout::parse(bytes).map(drop).map_err(|e| e.to_string()),
            _ => Document::parse(bytes, None).map(drop).map_err(|e| e.to_string()),
        };
        let excused = ACCEPTED_BY_US.iter().any(|reason| case.comment.contains(reason));
        if verdict.is_err() != case.fail && !excused {
            wrong.push(format!("{} ({}): {verdict:?}", case.field, case.comment));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cases.len(), 69);
}
