//! Services from other files: `"services": "services.d/*.json"`, alone or in the list. A file has one
//! service or a list of services. Files are read in the order of their names. Not here: the keys of a
//! service.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::limits::{CONFIG_BYTES_MAX, CONFIG_INCLUDED_MAX};

use super::syntax::document::{Node, Value};
use super::syntax::environment;
use super::syntax::report::Report;
use super::syntax::source::Source;

/// Puts the services of other files in the place of their paths.
pub(crate) fn expand(root: &mut Node, source: &Source<'_>, report: &mut Report<'_>) {
    let services = match &mut root.value {
        Value::List(_) => Some(root),
        Value::Object(members) => members
            .iter_mut()
            .find(|member| member.name == "services")
            .map(|member| &mut member.node),
        _ => None,
    };
    let mut reader = Reader {
        source,
        report,
        seen: HashSet::new(),
        bytes: 0,
    };
    let Some(services) = services else {
        return;
    };
    let at = services.at;
    let before = reader.report.count();
    match &mut services.value {
        Value::Text(path) => {
            let path = core::mem::take(path);
            let mut items = Vec::new();
            reader.read_all(&path, at, &mut items);
            services.value = Value::List(items);
        }
        Value::List(items)
            if items
                .iter()
                .any(|item| matches!(item.value, Value::Text(_))) =>
        {
            let mut all = Vec::with_capacity(items.len());
            for item in core::mem::take(items) {
                match item.value {
                    Value::Text(path) => reader.read_all(&path, item.at, &mut all),
                    _ => all.push(item),
                }
            }
            *items = all;
        }
        _ => return,
    }
    // The list is empty because of what was reported.
    let is_empty = matches!(&services.value, Value::List(items) if items.is_empty());
    if is_empty && reader.report.count() > before {
        services.value = Value::Broken;
    }
}

struct Reader<'r, 's, 'a> {
    source: &'r Source<'s>,
    report: &'r mut Report<'a>,
    /// Files that were read.
    seen: HashSet<PathBuf>,
    /// Bytes of all files.
    bytes: usize,
}

impl Reader<'_, '_, '_> {
    /// Adds the services of the files that `pattern` names. `at` is its place.
    fn read_all(&mut self, pattern: &str, at: usize, items: &mut Vec<Node>) {
        match self.files(pattern) {
            Err(message) => self.fail(at, pattern, &message),
            Ok(paths) => {
                for path in paths {
                    if let Err(message) = self.read(&path, items) {
                        self.fail(at, &path.display().to_string(), &message);
                    }
                }
            }
        }
    }

    fn fail(&mut self, at: usize, path: &str, message: &str) {
        self.report
            .add(at, "services", format!("{path:?} {message}"));
    }

    /// Returns the files that a pattern names, in the order of their names. A `*` may stand in the
    /// last part of the path.
    fn files(&mut self, pattern: &str) -> Result<Vec<PathBuf>, String> {
        let path = self.source.folder.join(pattern);
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or("names no file; write a path such as \"services.d/*.json\"")?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if folder.to_string_lossy().contains('*') {
            return Err(
                "has a \"*\" in the name of a folder; it may stand in the name of the file alone"
                    .to_owned(),
            );
        }
        if !name.contains('*') {
            return Ok(vec![path]);
        }
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let names = self
            .source
            .names(folder)
            .map_err(|error| format!("names a folder that cannot be read: {error}"))?;
        let fits = |found: &OsString| {
            let found = found.to_string_lossy();
            // As in a shell, a hidden file is named with its dot.
            found.starts_with('.') == name.starts_with('.') && fits(&found, &name)
        };
        let mut names = names.into_iter().filter(fits).collect::<Vec<_>>();
        crate::sort::sort(&mut names);
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }

    /// Adds the services of a file.
    fn read(&mut self, path: &Path, items: &mut Vec<Node>) -> Result<(), String> {
        if self.seen.contains(path) {
            return Err("is read twice; name it once".to_owned());
        }
        if self.seen.len() >= CONFIG_INCLUDED_MAX {
            return Err(format!(
                "is one file too many; services are read from at most {CONFIG_INCLUDED_MAX} files"
            ));
        }
        let text = self
            .source
            .file(path)
            .map_err(|error| format!("cannot be read: {error}"))?;
        self.seen.insert(path.to_owned());
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > CONFIG_BYTES_MAX {
            return Err(
                "makes the configuration larger than 16MB; is it the right file?".to_owned(),
            );
        }
        let name = path.display().to_string();
        let base = self.report.add_file(&name, Cow::Owned(text.clone()));
        let Some(mut root) = super::read_document(&text, base, self.report) else {
            return Ok(());
        };
        environment::replace(&mut root, "services", self.source.environment, self.report);
        match root.value {
            Value::List(found) => items.extend(found),
            Value::Object(ref members)
                if members.iter().any(|member| member.name == "services") =>
            {
                self.report.add(
                    root.at,
                    "",
                    "has \"services\"; a file of services has one service, or a list of them",
                );
            }
            Value::Object(_) => items.push(root),
            _ => self.report.add(
                root.at,
                "",
                "is no service; write { \"route\": .., \"target\": .. }, or a list of them",
            ),
        }
        Ok(())
    }
}

/// Compares a name with a pattern in which `*` stands for any text.
fn fits(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{ route: "/b", target: "http://b" }"#;
    const TWO: &str =
        "[\n{ route: \"/c\", target: \"http://c\" },\n{ route: \"/d\", target: \"${HOST}\" },\n]";

    /// Loads a file beside a folder `d` with these files.
    fn load(services: &str, files: &[(&str, &str)]) -> Result<Vec<String>, Vec<String>> {
        let env = |name: &str| (name == "HOST").then(|| "http://h".to_owned());
        let read = |path: &Path| {
            let found = files
                .iter()
                .find(|(name, _)| Path::new("/etc/tg/d").join(name) == path);
            found
                .map(|(_, text)| text.as_bytes().to_vec())
                .ok_or(std::io::ErrorKind::NotFound.into())
        };
        let list = |folder: &Path| match folder == Path::new("/etc/tg/d") {
            true => Ok(files.iter().map(|(name, _)| name.into()).collect()),
            false => Err(std::io::ErrorKind::NotFound.into()),
        };
        let text = format!("{{ services: {services} }}");
        let loaded =
            crate::config::load_with_folder(text.as_bytes(), "/etc/tg/t.json", &env, &read, &list);
        match loaded {
            Ok(config) => {
                let services = config.settings.services.iter();
                Ok(services.map(|service| service.route.clone()).collect())
            }
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn services_of_other_files() {
        let files = [
            ("2.json", TWO),
            ("1.json", ONE),
            (".hidden.json", "["),
            ("note.txt", "["),
        ];
        for (services, routes) in [
            (r#""d/*.json""#, &["/b", "/c", "/d"][..]),
            (r#"["d/1.json"]"#, &["/b"]),
            (
                r#"[{ route: "/a", target: "http://a" }, "d/*.json", { route: "/z", target: "http://z" }]"#,
                &["/a", "/b", "/c", "/d", "/z"],
            ),
            (
                r#"[{ route: "/a", target: "http://a" }, "d/*.yml"]"#,
                &["/a"],
            ),
        ] {
            let routes = routes.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(load(services, &files), Ok(routes), "{services}");
        }
    }

    #[test]
    fn errors_name_their_file() {
        for (services, files, line) in [
            (
                r#""d/*.json""#,
                &[
                    ("1.json", ONE),
                    ("2.json", "[\n{ route: 7, target: \"http://c\" }]"),
                ][..],
                "/etc/tg/d/2.json:2:10: services[1].route: 7 must be a path prefix such as \"/users\", not a number",
            ),
            (
                r#""d/*.json""#,
                &[
                    ("1.json", ONE),
                    ("2.json", "[ { route = \"/c\", target: \"http://c\" } ]"),
                ],
                "/etc/tg/d/2.json:1:11: key and value are divided by \":\"",
            ),
            (
                r#"["d/9.json"]"#,
                &[],
                "/etc/tg/t.json:1:14: services: \"/etc/tg/d/9.json\" cannot be read: entity not found",
            ),
            (
                r#"["e/*.json"]"#,
                &[],
                "/etc/tg/t.json:1:14: services: \"e/*.json\" names a folder that cannot be read: entity not found",
            ),
            (
                r#"["*/1.json"]"#,
                &[],
                "/etc/tg/t.json:1:14: services: \"*/1.json\" has a \"*\" in the name of a folder; it may stand in the name of the file alone",
            ),
            (
                r#"["d/1.json", "d/*.json"]"#,
                &[("1.json", ONE)],
                "/etc/tg/t.json:1:26: services: \"/etc/tg/d/1.json\" is read twice; name it once",
            ),
            (
                r#""d/*.json""#,
                &[("1.json", ONE), ("2.json", "{ services: [] }")],
                "/etc/tg/d/2.json:1:1: has \"services\"; a file of services has one service, or a list of them",
            ),
            (
                r#""d/*.json""#,
                &[("1.json", ONE), ("2.json", "7")],
                "/etc/tg/d/2.json:1:1: is no service; write { \"route\": .., \"target\": .. }, or a list of them",
            ),
            (
                r#""d/*.json""#,
                &[("1.json", ONE), ("2.json", "[\"x.json\"]")],
                "/etc/tg/d/2.json:1:2: services[1]: \"x.json\" must be an object with \"route\" and \"target\", not a string",
            ),
        ] {
            let errors = load(services, files).expect_err(services);
            assert!(errors.contains(&line.to_owned()), "{services}: {errors:#?}");
        }
    }

    #[test]
    fn a_list_is_not_called_empty_because_of_an_include_that_failed() {
        let files = [("1.json", "[ {"), ("2.json", "7"), ("3.json", "[]")];
        for (services, count) in [
            (r#""d/9.json""#, 1),
            (r#"["d/8.json", "d/9.json"]"#, 2),
            (r#"["e/*.json", "d/3.json"]"#, 1),
            (r#""d/1.json""#, 1),
            (r#""d/2.json""#, 1),
            (r#"["d/9.json", {}]"#, 3),
        ] {
            let errors = load(services, &files).expect_err(services);
            assert_eq!(errors.len(), count, "{services}: {errors:#?}");
        }
        for services in ["[]", r#""d/3.json""#, r#"["d/*.yml"]"#] {
            let errors = load(services, &files).expect_err(services);
            assert!(errors.concat().contains("is empty"), "{errors:#?}");
        }
    }

    #[test]
    fn patterns() {
        for (name, pattern, expected) in [
            ("a.json", "*.json", true),
            ("a.json", "a*", true),
            ("a.json", "*", true),
            ("a.json", "a*n", true),
            ("a.json", "*s*n", true),
            ("a.json", "a.json", true),
            ("a.json~", "*.json", false),
            ("a.json", "b*", false),
            ("json", "*.json", false),
            ("ab", "a*b*b", false),
            ("a.json", "a.jso", false),
        ] {
            assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
        }
    }
}
