//! `tls` of a target: the authorities and the name that its certificate is verified with.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::transport::identity::{self, ClientIdentity, PairFault};

use crate::config::model::ClientCertificate;
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::syntax::source::Source;
use crate::config::syntax::stray::Fault;
use crate::config::values::host;

/// Values of `tls`, and the certificates of the file that it names.
#[derive(Clone, Default)]
pub(crate) struct TlsSettings {
    pub(crate) roots: Vec<Vec<u8>>,
    pub(crate) server_name: Option<String>,
    pub(crate) client: Option<ClientCertificate>,
}

impl TlsSettings {
    /// Returns a digest of the settings and of the contents of the files; all zero without any.
    pub(crate) fn digest(&self) -> [u8; 32] {
        if self.roots.is_empty() && self.server_name.is_none() && self.client.is_none() {
            return [0; 32];
        }
        // Names of hosts have no case.
        let name = self.server_name.as_deref().map(str::to_ascii_lowercase);
        let verified = identity::digest(name.as_deref(), &self.roots);
        match &self.client {
            None => verified,
            Some(client) => {
                let parts = [verified.to_vec(), client.identity.digest().to_vec()];
                identity::digest(Some("client"), &parts)
            }
        }
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
        let cert = object.get("cert").filter(|place| !place.is_null());
        let key = object.get("key").filter(|place| !place.is_null());
        let given = [ca, name, cert, key];
        if is_tls == Some(false) && given.iter().any(Option::is_some) {
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
        settings.client = match (cert, key) {
            (Some(cert), Some(key)) => self.client(cert, key, report),
            (Some(place), None) => {
                place.fail(
                    report,
                    "has no \"key\" beside it; add the path of its private key (PEM)",
                );
                None
            }
            (None, Some(place)) => {
                place.fail(
                    report,
                    "has no \"cert\" beside it; add the path of the certificate (PEM)",
                );
                None
            }
            (None, None) => None,
        };
        settings
    }

    /// Reads the certificate that upstreams are shown, and its key.
    fn client(
        &self,
        cert: &Located<'_>,
        key: &Located<'_>,
        report: &mut Report<'_>,
    ) -> Option<ClientCertificate> {
        let mut read = |place: &Located<'_>| {
            let text = place.text(report)?;
            if text.is_empty() {
                place.fail(report, "is empty; name a PEM file, or write null");
                return None;
            }
            let path = self.source.folder.join(text);
            let fault =
                |error| format!("{:?}: cannot be read: {error}", path.display().to_string());
            match self.source.file_of_upstream(&path).map_err(fault) {
                Ok(bytes) => Some((path, bytes)),
                Err(message) => {
                    place.fail_bare(report, message);
                    None
                }
            }
        };
        let (chain, private) = (read(cert), read(key));
        let ((chain_path, chain), (key_path, private)) = (chain?, private?);
        let (place, path, message) = match ClientIdentity::from_pem(&chain, &private) {
            Ok(identity) => {
                return Some(ClientCertificate {
                    identity,
                    certificate: chain_path,
                    key: key_path,
                });
            }
            Err(PairFault::Certificate(message)) => (cert, chain_path, message),
            Err(PairFault::Key(message) | PairFault::Mismatch(message)) => (key, key_path, message),
        };
        let path = path.display().to_string();
        place.fail_bare(report, format!("{path:?}: {message}"));
        None
    }

    /// Reads the certificates of a file.
    pub(crate) fn roots(
        &mut self,
        place: &Located<'_>,
        report: &mut Report<'_>,
    ) -> Option<Vec<Vec<u8>>> {
        let text = place.text(report)?;
        if text.is_empty() {
            place.fail(report, "is empty; name a PEM file, or write null");
            return None;
        }
        let path = self.source.folder.join(text);
        let loaded = self.certificates.entry(path.clone()).or_insert_with(|| {
            let bytes = self.source.file_of_upstream(&path);
            let bytes = bytes.map_err(|error| format!("cannot be read: {error}"))?;
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
            Fault::uncured(format!("must be {expected}, without scheme and port")),
        );
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::load;
    use std::io;
    use std::path::Path;

    /// Returns certificate and key, both PEM.
    fn pair() -> [String; 2] {
        let made = rcgen::generate_simple_self_signed(vec!["gate.test".to_owned()]).expect("made");
        [made.cert.pem(), made.signing_key.serialize_pem()]
    }

    /// Loads two services on one target, the first of which has these keys in `tls`. Returns the
    /// digests of the targets.
    fn trusts(keys: &str, files: &[[String; 2]; 2]) -> Result<Vec<[u8; 32]>, Vec<String>> {
        let text = format!(
            r#"[{{"route":"/a","target":"https://b","tls":{{{keys}}}}},{{"route":"/b","target":"https://b"}}]"#
        );
        let read = |path: &Path| {
            let [[a, a_key], [b, b_key]] = files;
            match path.file_name().and_then(|name| name.to_str()) {
                Some("a.pem") => Ok(a.clone().into_bytes()),
                Some("a.key") => Ok(a_key.clone().into_bytes()),
                Some("b.pem") => Ok(b.clone().into_bytes()),
                Some("b.key") => Ok(b_key.clone().into_bytes()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        };
        match load(text.as_bytes(), "t.json", &|_| None, &read) {
            Ok(config) => Ok(config
                .settings
                .targets
                .iter()
                .map(|one| one.trust)
                .collect()),
            Err(errors) => Err(errors
                .iter()
                .map(|error| format!("{}: {}", error.path, error.message))
                .collect()),
        }
    }

    /// The contents of a CA file count, and not its name: a reload keeps connections by the digest.
    #[test]
    fn another_authority_makes_another_target() {
        let (first, second) = (pair(), pair());
        let trust = |keys: &str, files: [&[String; 2]; 2]| {
            let files = files.map(Clone::clone);
            trusts(keys, &files).expect(keys).first().copied()
        };
        let (a, b) = (r#""ca":"a.pem""#, r#""ca":"b.pem""#);
        let before = trust(a, [&first, &second]);
        assert_eq!(before, trust(b, [&second, &first]), "the same contents");
        assert_ne!(before, trust(a, [&second, &second]), "the same name");
        let named = trust(r#""ca":"a.pem","serverName":"c""#, [&first, &second]);
        assert_ne!(before, named);
    }

    #[test]
    fn a_client_certificate_makes_a_target_of_its_own() {
        let files = [pair(), pair()];
        let trusts = |keys: &str| trusts(keys, &files).expect(keys);
        assert_eq!(trusts("").len(), 1, "the target is shared");
        assert_eq!(trusts(r#""cert":null,"key":null"#).len(), 1);
        let one = trusts(r#""cert":"a.pem","key":"a.key""#);
        let other = trusts(r#""cert":"b.pem","key":"b.key""#);
        let named = trusts(r#""cert":"a.pem","key":"a.key","serverName":"c""#);
        let [a, none] = one[..] else {
            panic!("{one:?}")
        };
        assert_eq!(none, [0; 32]);
        assert!(a != none && a != other[0] && a != named[0]);
        assert_eq!(one, trusts(r#""cert":"a.pem","key":"a.key""#));
    }

    #[test]
    fn pairs_that_are_none() {
        let files = [pair(), pair()];
        for (keys, message) in [
            (
                r#""cert":"a.pem""#,
                "tls.cert: \"a.pem\" has no \"key\" beside it",
            ),
            (
                r#""key":"a.key""#,
                "tls.key: \"a.key\" has no \"cert\" beside it",
            ),
            (
                r#""cert":"a.pem","key":"b.key""#,
                "tls.key: \"b.key\": is not the key of the certificate",
            ),
            (r#""cert":"a.key","key":"a.key""#, "tls.cert: \"a.key\": "),
            (r#""cert":"a.pem","key":"a.pem""#, "tls.key: \"a.pem\": "),
            (
                r#""cert":"none.pem","key":"a.key""#,
                "tls.cert: \"none.pem\": cannot be read",
            ),
            (r#""cert":"","key":"a.key""#, "tls.cert: \"\" is empty"),
            (r#""cert":7,"key":"a.key""#, "tls.cert: 7 must be the path"),
        ] {
            let errors = trusts(keys, &files).expect_err(keys);
            assert_eq!(errors.len(), 1, "{keys}: {errors:?}");
            assert!(errors[0].contains(message), "{keys}: {errors:?}");
            let content = files.iter().flatten().flat_map(|text| text.lines());
            let mut lines = content.filter(|line| line.len() > 40);
            assert!(
                !lines.any(|line| errors[0].contains(line)),
                "no content of a file"
            );
        }
    }
}
