//! Path of the configuration, given or searched for.

use std::path::{Path, PathBuf};

/// Paths that are searched for a configuration, in this order, when none is given.
pub const SEARCHED: [&str; 2] = ["tollgate.json", "/etc/tollgate/tollgate.json"];

/// Returns the configuration file: the given one, else the first searched one that exists.
///
/// # Errors
/// No file exists (exit code 1). The three lines tell the user what to do.
pub fn find_config(named: Option<PathBuf>) -> Result<PathBuf, String> {
    // An unreadable file is an error later, no reason to search on.
    search(named, &|path| !matches!(path.try_exists(), Ok(false)))
}

fn search(named: Option<PathBuf>, exists: &dyn Fn(&Path) -> bool) -> Result<PathBuf, String> {
    let searched = || SEARCHED.iter().map(PathBuf::from).find(|path| exists(path));
    named.or_else(searched).ok_or_else(|| {
        "tollgate: no configuration: neither ./tollgate.json nor /etc/tollgate/tollgate.json exists\n\
         Write one: { \"services\": [ { \"route\": \"/users\", \"target\": \"http://127.0.0.1:9000/users/\" } ] }\n\
         or have \"tollgate init\" write one with comments, or name one with --config FILE (the file of a gateway that runs, or its address with --admin), or try \"tollgate demo\", which needs none."
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_searched_for() {
        let find = |named: Option<&str>, existing: &[&str]| {
            search(named.map(PathBuf::from), &|path| {
                existing.iter().any(|name| Path::new(name) == path)
            })
        };
        assert_eq!(find(Some("a.json"), &[]), Ok(PathBuf::from("a.json")));
        assert_eq!(find(None, &SEARCHED), Ok(PathBuf::from("tollgate.json")));
        assert_eq!(
            find(None, &["/etc/tollgate/tollgate.json"]),
            Ok(PathBuf::from("/etc/tollgate/tollgate.json"))
        );
        let message = find(None, &[]).expect_err("nothing there");
        assert!(
            message.lines().count() == 3 && message.contains("tollgate demo"),
            "{message}"
        );
    }
}
