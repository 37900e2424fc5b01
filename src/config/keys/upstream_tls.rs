//! `tls` of a target: the authorities and the name that its certificate is verified with.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::transport::identity;

use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::values::host;

/// Values of `tls`, and the certificates of the file that it names.
#[derive(Clone, Default)]
pub(crate) struct TlsSettings {
    pub(crate) roots: Vec<Vec<u8>>,
    pub(crate) server_name: Option<String>,
}

impl TlsSettings {
    /// Returns a digest of the settings and of the contents of the CA file; all zero without any.
    pub(crate) fn digest(&self) -> [u8; 32] {
        if self.roots.is_empty() && self.server_name.is_none() {
            return [0; 32];
        }
        // Names of hosts have no case.
        let name = self.server_name.as_deref().map(str::to_ascii_lowercase);
        identity::digest(name.as_deref(), &self.roots)
    }
}

/// Reads `tls` settings; each file is read once.
pub(crate) struct Trust<'t> {
    pub(crate) source: &'t Source<'t>,
    certificates: HashMap<PathBuf, Result<Vec<Vec<u8>>, String>>,
}

impl<'t> Trust<'t> {
    pub(crate) fn new(source: &'t Source<'t>) -> Trust<'t> {
        Trust {
            source,
            certificates: HashMap::new(),
        }
    }

    /// Reads `tls`. `is_tls`: whether the target is https, when it is known.
    pub(crate) fn settings(
        &mut self,
        place: &Located<'_>,
        is_tls: Option<bool>,
        report: &mut Report<'_>,
    ) -> TlsSettings {
        let mut settings = TlsSettings::default();
        let Some(object) = place.object(report) else {
            return settings;
        };
        // Written-out defaults do no harm to an http target.
        let ca = object.get("ca").filter(|place| !place.is_null());
        let name = object.get("serverName").filter(|place| !place.is_null());
        if is_tls == Some(false) && (ca.is_some() || name.is_some()) {
            place.fail_bare(
                report,
                "the target is http, which has no TLS; write https:// in the target, or remove this",
            );
            return settings;
        }
        if let Some(place) = ca
            && let Some(roots) = self.roots(place, report)
        {
            settings.roots = roots;
        }
        settings.server_name = name.and_then(|place| server_name(place, report));
        settings
    }

    fn roots(&mut self, place: &Located<'_>, report: &mut Report<'_>) -> Option<Vec<Vec<u8>>> {
        let text = place.text(report)?;
        if text.is_empty() {
            place.fail(report, "is empty; name a PEM file, or write null");
            return None;
        }
        let path = self.source.folder.join(text);
        let loaded = self.certificates.entry(path.clone()).or_insert_with(|| {
            let bytes =
                (self.source.read)(&path).map_err(|error| format!("cannot be read: {error}"))?;
            identity::certificates_from_pem(&bytes).map_err(|error| error.to_string())
        });
        match loaded {
            Ok(roots) => Some(roots.clone()),
            Err(message) => {
                // One line, whatever the file is called.
                place.fail_bare(
                    report,
                    format!("{:?}: {message}", path.display().to_string()),
                );
                None
            }
        }
    }
}

/// Reads a server name. An IPv6 address has no brackets here, as in a certificate.
fn server_name(place: &Located<'_>, report: &mut Report<'_>) -> Option<String> {
    let expected = "a host name such as \"backend.example\" or an address";
    let text = place.text(report)?;
    let is_name = !text.starts_with('[') && host::parse(text).is_ok();
    if !is_name && text.parse::<std::net::IpAddr>().is_err() {
        place.fail(
            report,
            format!("must be {expected}, without scheme and port"),
        );
        return None;
    }
    Some(text.to_owned())
}
