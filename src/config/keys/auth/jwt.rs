//! A provider of the type `jwt`: where its keys are, and what its tokens must say.

use crate::limits::JWKS_BYTES;
use crate::policy::auth::algorithm::{Algorithm, AlgorithmSet};
use crate::policy::auth::jwks::KeySet;
use crate::policy::auth::jwt::Rules;
use crate::policy::auth::key::{Material, Secret, VerifyingKey};
use crate::policy::auth::pem;
use crate::policy::auth::provider::{Keys, Kind};

use super::{Compiler, forwarded, not_empty, secret};
use crate::config::syntax::located::{Located, Object};
use crate::config::syntax::report::Report;
use crate::config::values::scalars;

/// Keys of the file that name a source of keys.
const SOURCES: [&str; 3] = ["secret", "publicKey", "jwks"];

impl Compiler<'_> {
    pub(crate) fn jwt(
        &mut self,
        place: &Located<'_>,
        object: &Object<'_>,
        report: &mut Report<'_>,
    ) -> Option<Kind> {
        let listed = object
            .get("algorithms")
            .map(|place| algorithms(place, report));
        let issuers = texts(object.get("issuer"), report);
        let audiences = texts(object.get("audience"), report);
        let leeway = scalars::duration_of(object, "leeway", report);
        let forwarded = forwarded(object.get("forwardClaims"), report);
        let (key, source) = key_source(place, object, report)?;
        let listed = match listed {
            None => None,
            Some(algorithms) => Some(algorithms?),
        };
        let (keys, algorithms) = match key {
            "secret" => {
                let text = secret(source, report)?;
                self.single(
                    object,
                    Material::Secret(Secret::new(text.as_bytes().to_vec())),
                    listed,
                    report,
                )?
            }
            "publicKey" => {
                let material = self.public_key(source, report)?;
                self.single(object, material, listed, report)?
            }
            _ => self.set(
                object,
                source,
                listed.unwrap_or(AlgorithmSet::PUBLIC),
                report,
            )?,
        };
        let has_url = matches!(keys, Keys::Fetched(_));
        if let Some(tls) = object.get("tls").filter(|_| !has_url) {
            tls.fail_bare(
                report,
                "says how an https \"jwks\" is trusted, and there is none; remove it",
            );
            return None;
        }
        let rules = Rules {
            algorithms,
            issuers: issuers?,
            audiences: audiences?,
            leeway,
            claims: forwarded,
        };
        Some(Kind::Jwt { rules, keys })
    }

    /// Returns one key. It must fit each algorithm that is listed.
    fn single(
        &self,
        object: &Object<'_>,
        material: Material,
        listed: Option<AlgorithmSet>,
        report: &mut Report<'_>,
    ) -> Option<(Keys, AlgorithmSet)> {
        let fitting = material.algorithms();
        if let (Some(listed), Some(place)) = (listed, object.get("algorithms"))
            && let Some(wrong) = listed
                .iter()
                .find(|algorithm| !fitting.contains(*algorithm))
        {
            let names = fitting
                .iter()
                .map(Algorithm::name)
                .collect::<Vec<_>>()
                .join(", ");
            place.fail_bare(
                report,
                format!(
                    "{} does not fit the key, which is {}: {names}",
                    wrong.name(),
                    material.kind()
                ),
            );
            return None;
        }
        let algorithms = listed.unwrap_or(fitting);
        Some((
            Keys::Known(KeySet::only(VerifyingKey::new(None, material, algorithms))),
            algorithms,
        ))
    }

    fn public_key(&self, place: &Located<'_>, report: &mut Report<'_>) -> Option<Material> {
        let text = not_empty(place, report)?;
        // A key out of the environment comes as it is.
        if text.trim_start().starts_with("-----BEGIN ") {
            return pem::public_key(text.as_bytes())
                .map_err(|message| place.fail_bare(report, message))
                .ok();
        }
        let bytes = self.file(place, text, report)?;
        pem::public_key(&bytes)
            .map_err(|message| place.fail_bare(report, format!("{}: {message}", self.shown(text))))
            .ok()
    }

    /// Returns a key set from a URL, or from a file.
    fn set(
        &mut self,
        object: &Object<'_>,
        place: &Located<'_>,
        algorithms: AlgorithmSet,
        report: &mut Report<'_>,
    ) -> Option<(Keys, AlgorithmSet)> {
        let text = not_empty(place, report)?;
        let is_url = text.split_once("://").is_some();
        if is_url {
            if algorithms.iter().any(Algorithm::is_symmetric)
                && let Some(place) = object.get("algorithms")
            {
                place.fail(
                    report,
                    "has an HMAC algorithm, whose key would be a secret that anybody can fetch; remove it",
                );
                return None;
            }
            return Some((
                Keys::Fetched(self.endpoint(place, object, "jwks", report)?),
                algorithms,
            ));
        }
        let bytes = self.file(place, text, report)?;
        if bytes.len() > JWKS_BYTES {
            place.fail_bare(
                report,
                format!(
                    "{}: is larger than 256 KB; is it the right file?",
                    self.shown(text)
                ),
            );
            return None;
        }
        let set = KeySet::parse(&bytes, algorithms)
            .map_err(|message| {
                place.fail_bare(
                    report,
                    format!("{}: the key set {message}", self.shown(text)),
                )
            })
            .ok()?;
        Some((Keys::Known(set), algorithms))
    }

    fn file(&self, place: &Located<'_>, text: &str, report: &mut Report<'_>) -> Option<Vec<u8>> {
        let path = self.source.folder.join(text);
        let fault = |error| format!("{}: cannot be read: {error}", self.shown(text));
        self.source
            .file(&path)
            .map_err(|error| place.fail_bare(report, fault(error)))
            .ok()
    }

    /// Returns the path of a file in quotes, so that it is always one line.
    fn shown(&self, text: &str) -> String {
        format!("{:?}", self.source.folder.join(text).display().to_string())
    }
}

/// Returns the one key that says where the keys are, and its value.
fn key_source<'o, 'a>(
    place: &Located<'_>,
    object: &'o Object<'a>,
    report: &mut Report<'_>,
) -> Option<(&'static str, &'o Located<'a>)> {
    let given = SOURCES
        .iter()
        .filter_map(|key| Some((*key, object.get(key)?)))
        .collect::<Vec<_>>();
    match given.as_slice() {
        [one] => return Some(*one),
        [] => place.fail(
            report,
            r#"has no key; add "secret", "publicKey" (a PEM file) or "jwks" (a URL or a file)"#,
        ),
        [_, (_, second), ..] => second.fail_bare(
            report,
            r#"is one source of keys too many; keep one of "secret", "publicKey" and "jwks""#,
        ),
    }
    None
}

fn algorithms(place: &Located<'_>, report: &mut Report<'_>) -> Option<AlgorithmSet> {
    let items = place.list(report)?;
    if items.is_empty() {
        place.fail(
            report,
            "is empty: no token could be good; name what the issuer signs with, such as \"RS256\"",
        );
        return None;
    }
    let own = Algorithm::ALL
        .iter()
        .map(|&algorithm| (algorithm.name(), algorithm));
    let names = own
        .chain(Algorithm::ALIASES.iter().copied())
        .collect::<Vec<_>>();
    let mut all = Vec::new();
    for item in &items {
        if item.node.value == crate::config::syntax::document::Value::Text("none".to_owned()) {
            item.fail(report, "would let everybody in, with any claims; remove it");
            continue;
        }
        all.extend(item.choice(report, &names));
    }
    (all.len() == items.len()).then(|| AlgorithmSet::new(&all))
}

/// Returns a string, or a list of strings; without the key an empty list.
fn texts(place: Option<&Located<'_>>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let Some(place) = place else {
        return Some(Vec::new());
    };
    if let crate::config::syntax::document::Value::List(_) = place.node.value {
        let items = place.list(report)?;
        if items.is_empty() {
            place.fail(report, "is empty; leave it out, and it is not looked at");
            return None;
        }
        return items
            .iter()
            .map(|item| Some(not_empty(item, report)?.to_owned()))
            .collect();
    }
    Some(vec![not_empty(place, report)?.to_owned()])
}
