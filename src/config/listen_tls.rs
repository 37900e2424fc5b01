//! `tls` of a listener. The files are read here, so that a broken pair is an error of the configuration.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::limits::CERTIFICATES_MAX;
use crate::transport::server::{CertificateFiles, Part, ServerTls, TlsFiles, TlsVersion};

use super::compile::Surroundings;
use super::raw::{Place, Report};

const KEYS: [&str; 3] = ["certificates", "minVersion", "clientCa"];
const PAIR_KEYS: [&str; 2] = ["cert", "key"];
const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];

/// A pair and where the file names its two parts.
struct Pair<'a> {
    files: CertificateFiles,
    cert: Place<'a>,
    key: Place<'a>,
}

pub(super) fn compile(place: &Place<'_>, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<TlsFiles> {
    let object = place.object(
        report,
        r#"an object such as { "certificates": [{ "cert": "site.pem", "key": "site.key" }] }"#,
        &KEYS,
    )?;
    let min_version = match object.get("minVersion").filter(|place| !place.is_null()) {
        Some(place) => place.choice(report, &VERSIONS),
        None => Some(TlsVersion::Tls12),
    };
    let ca_place = object.get("clientCa").filter(|place| !place.is_null());
    let client_ca = match ca_place {
        Some(place) => path(place, around, report).map(Some),
        None => Some(None),
    };
    let pairs = match object.get("certificates") {
        Some(place) => pairs(place, around, report),
        None => {
            place.fail(
                report,
                r#""certificates" is missing; add a pair such as { "cert": "site.pem", "key": "site.key" }"#,
            );
            None
        }
    };
    let (min_version, client_ca, pairs) = (min_version?, client_ca?, pairs?);
    let certificates = pairs.iter().map(|pair| pair.files.clone()).collect();
    let files = TlsFiles { certificates, min_version, client_ca };
    if let Err(faults) = ServerTls::load(&files, around.read) {
        let mut told = HashSet::new();
        for fault in faults {
            let at = match fault.part {
                Part::Certificate(index) => pairs.get(index).map(|pair| &pair.cert),
                Part::Key(index) => pairs.get(index).map(|pair| &pair.key),
                Part::ClientCa => ca_place,
                Part::Whole => None,
            };
            // One line, whatever the file is called.
            let message = format!("{:?}: {}", fault.path.display().to_string(), fault.message);
            if told.insert((at.map(|place| place.node.at), message.clone())) {
                at.unwrap_or(place).fail(report, message);
            }
        }
        return None;
    }
    Some(files)
}

fn pairs<'a>(place: &Place<'a>, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Vec<Pair<'a>>> {
    let items = place.list(report, r#"a list such as [{ "cert": "site.pem", "key": "site.key" }]"#)?;
    if items.is_empty() {
        place.fail(report, r#"is empty; add a pair such as { "cert": "site.pem", "key": "site.key" }"#);
    }
    if items.len() > CERTIFICATES_MAX {
        place.fail(report, format!("has {} certificates; at most {CERTIFICATES_MAX} can stand here", items.len()));
        return None;
    }
    let pairs = items.iter().map(|item| pair(item, around, report)).collect::<Vec<_>>();
    pairs.into_iter().collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty())
}

fn pair<'a>(place: &Place<'a>, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Pair<'a>> {
    let object = place.object(report, r#"an object with "cert" and "key""#, &PAIR_KEYS)?;
    let mut part = |name: &str, what: &str| match object.get(name) {
        Some(place) => path(place, around, report).map(|path| (place.clone(), path)),
        None => {
            place.fail(report, format!("{name:?} is missing; add the path of {what}"));
            None
        }
    };
    let cert = part("cert", "the certificate (PEM), such as \"site.pem\"");
    let key = part("key", "its private key (PEM), such as \"site.key\"");
    let ((cert, certificate), (key_place, key)) = (cert?, key?);
    Some(Pair { files: CertificateFiles { certificate, key }, cert, key: key_place })
}

fn path(place: &Place<'_>, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    let text = place.text(report, "the path of a PEM file")?;
    if text.is_empty() {
        place.fail(report, "is empty; name a PEM file");
        return None;
    }
    Some(around.folder.join(text))
}
