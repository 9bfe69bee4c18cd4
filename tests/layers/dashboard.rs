//! The files of the dashboard: short enough to be read whole, and written without what its content security policy forbids.

use std::fs;
use std::path::Path;

/// Lines of one file.
const FILE_LINES_MAX: usize = 200;
/// Lines of all modules together, without comments (the types stand there) and empty lines.
const SCRIPT_LINES_MAX: usize = 1_500;
/// Characters of a line. So the limits above can't be kept by long lines.
const LINE_CHARACTERS_MAX: usize = 150;
/// Ways to make markup or code of text, and to what is not this service. The address of SVG's names is no request.
const FORBIDDEN: &[&str] = &[
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "Function(",
    "://",
    " style=",
];
const SVG_NAMES: &str = "http://www.w3.org/2000/svg";

/// The files with their names.
pub(crate) fn files(root: &Path) -> Vec<(String, String)> {
    let folder = fs::read_dir(root.join("src/api/dashboard/files")).expect("the folder is there");
    let read = |path: &Path| {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("a file of the dashboard is UTF-8"))
    };
    folder.map(|entry| read(&entry.expect("it can be listed").path())).collect()
}

/// What is wrong with them.
pub(crate) fn faults(files: &[(String, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut script_lines = 0;
    for (name, text) in files {
        let is_script = name.ends_with(".js");
        let lines = text.lines().count();
        if is_script && lines > FILE_LINES_MAX {
            faults.push(format!("{name} has {lines} lines, more than {FILE_LINES_MAX}"));
        }
        if is_script && !text.starts_with("// ") {
            faults.push(format!("{name} does not begin with a comment that says what it is for"));
        }
        if is_script {
            script_lines += text.lines().filter(|line| is_code(line)).count();
        }
        for (number, line) in (1..).zip(text.lines()) {
            if line.chars().count() > LINE_CHARACTERS_MAX {
                faults.push(format!("{name}:{number} has more than {LINE_CHARACTERS_MAX} characters"));
            }
            let line = line.replace(SVG_NAMES, "");
            let found = FORBIDDEN.iter().filter(|word| line.contains(**word));
            faults.extend(found.map(|word| format!("{name}:{number} has \"{word}\"")));
        }
    }
    if script_lines > SCRIPT_LINES_MAX {
        faults.push(format!("the modules have {script_lines} lines of script, more than {SCRIPT_LINES_MAX}"));
    }
    faults
}

/// A line is a comment or code: the modules have no comment behind code.
fn is_code(line: &str) -> bool {
    let line = line.trim_start();
    !(line.is_empty() || ["//", "/*", "*"].iter().any(|start| line.starts_with(start)))
}
