//! Which installation is chosen, with made-up ones.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::programs::{FOLDERS, Programs, Version, choose, complete, expand, parse_version};

/// Folders as Debian's, of these versions; `13` lacks `initdb`, as a package of clients does.
fn installations(root: &Path) -> Vec<PathBuf> {
    for major in ["9.6", "13", "15", "16", "17"] {
        let folder = root.join("postgresql").join(major).join("bin");
        fs::create_dir_all(&folder).unwrap();
        for program in ["postgres", "pg_ctl", "initdb"] {
            if (major, program) != ("13", "initdb") {
                fs::write(folder.join(program), "").unwrap();
            }
        }
    }
    expand(&format!("{}/postgresql/*/bin", root.display()))
}

fn major_by_path(folder: PathBuf) -> Programs {
    let name = folder.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
    let major = name.split('.').next().unwrap().parse().unwrap();
    Programs { folder, version: Version { major, minor: 0 } }
}

fn chosen(wanted: Option<u32>) -> Result<u32, Error> {
    let root = tempfile::tempdir().unwrap();
    let found = complete(installations(root.path())).into_iter().map(major_by_path).collect();
    choose(found, wanted, "here".into()).map(|programs| programs.version.major)
}

#[test]
fn the_newest_unless_there_is_data_of_another_major() {
    assert_eq!(chosen(None).unwrap(), 17);
    assert_eq!(chosen(Some(15)).unwrap(), 15);
    assert!(matches!(chosen(Some(14)), Err(Error::OtherMajor { wanted: 14, .. })));
    assert!(matches!(chosen(Some(13)), Err(Error::OtherMajor { wanted: 13, .. })), "it lacks initdb");
}

#[test]
fn the_newest_minor_of_a_major_and_none_too_old() {
    let programs = |major, minor| Programs { folder: "/x".into(), version: Version { major, minor } };
    let found = vec![programs(15, 4), programs(15, 18), programs(15, 9), programs(9, 6)];
    assert_eq!(choose(found, None, String::new()).unwrap().version, Version { major: 15, minor: 18 });
    assert!(matches!(choose(vec![programs(9, 6)], None, String::new()), Err(Error::NotInstalled { .. })));
}

#[test]
fn one_installation_reached_twice_counts_once() {
    let root = tempfile::tempdir().unwrap();
    let mut folders = installations(root.path());
    let link = root.path().join("link");
    std::os::unix::fs::symlink(root.path().join("postgresql/17/bin"), &link).unwrap();
    let once = complete(folders.clone());
    folders.push(link);
    assert_eq!(complete(folders), once);
}

#[test]
fn versions_as_they_are_said() {
    let version = |words| parse_version(words).map(|version| (version.major, version.minor));
    assert_eq!(version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some((15, 18)));
    assert_eq!(version("postgres (PostgreSQL) 17.5 (Homebrew)"), Some((17, 5)));
    assert_eq!(version("postgres (PostgreSQL) 18beta1\n"), Some((18, 0)));
    assert_eq!(version("something else 3.1"), None);
}

#[test]
fn the_script_that_installs_looks_in_the_same_places() {
    let script = include_str!("../../../../scripts/ensure-postgres");
    for folder in FOLDERS {
        assert!(script.contains(folder), "{folder}");
    }
}
