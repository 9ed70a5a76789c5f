//! The order of the modules in `src/lib.rs` is the order of their dependencies.
//!
//! These tests read the `use` lines of `src/`. A module imports only modules that `lib.rs` lists below it, no two files import
//! each other, directly or through others, and no source file has more than 600 lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Source files may have this many lines, unit tests included.
const MAX_LINES: usize = 600;

/// Groups of files that may import each other, since each splits the methods of one type.
const ONE_TYPE_IN_SEVERAL_FILES: [(&str, &[&str]); 5] = [
    (
        "StompConnection",
        &[
            "ws::connection",
            "ws::activity",
            "ws::send",
            "ws::subscribe",
        ],
    ),
    ("Hub", &["delivery::hub", "delivery::hub::subscribe"]),
    (
        "Delivery",
        &["delivery", "delivery::repair", "delivery::presence"],
    ),
    ("Blobs", &["blobs", "blobs::upload"]),
    (
        "World",
        &[
            "delivery::simulation::world",
            "delivery::simulation::nodes",
            "delivery::simulation::schedule",
            "delivery::simulation::sse",
            "delivery::simulation::stomp",
        ],
    ),
];

/// Every source file by the path of its module, `delivery::hub`; the binary is left out.
fn sources() -> BTreeMap<String, String> {
    fn visit(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                visit(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    visit(&root, &mut files);
    let name = |path: &Path| {
        let path = path.strip_prefix(&root).expect("a path below src");
        let name = path.with_extension("").to_string_lossy().replace('/', "::");
        name.strip_suffix("::mod").unwrap_or(&name).to_owned()
    };
    files
        .iter()
        .filter(|path| !path.ends_with("src/main.rs"))
        .map(|path| (name(path), fs::read_to_string(path).expect("a text")))
        .collect()
}

/// The part of a file before its unit tests.
fn without_tests(source: &str) -> &str {
    source
        .split_once("\n#[cfg(test)]\nmod ")
        .map_or(source, |(code, _)| code)
}

/// The modules in the order in which the head of `lib.rs` lists them.
fn order(lib: &str) -> Vec<String> {
    lib.lines()
        .filter_map(|line| line.strip_prefix("//! - [`")?.split('`').next())
        .map(str::to_owned)
        .collect()
}

/// Splits the use tree `a::{b, c::d}` into the paths `a::b` and `a::c::d`.
fn paths(tree: &str, prefix: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        found.push(format!("{prefix}{path}"));
        return;
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut branch) = (0, String::new());
    for character in inner.chars().chain([',']) {
        if character == ',' && depth == 0 {
            if !branch.trim().is_empty() {
                paths(&branch, &prefix, found);
            }
            branch.clear();
            continue;
        }
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        branch.push(character);
    }
}

/// The paths below `crate::` that a file names: its `use` items, and paths within its code. `super::` is resolved.
fn imports(module: &str, source: &str) -> BTreeSet<String> {
    let code: String = without_tests(source)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join(" ");
    let mut found = Vec::new();
    for item in code.split(';') {
        if let Some((_, tree)) = item.rsplit_once("use ") {
            paths(tree, "", &mut found);
        }
    }
    for rest in code.split("crate::").skip(1) {
        let in_path = |c: &char| c.is_alphanumeric() || matches!(c, ':' | '_');
        let path: String = rest.chars().take_while(in_path).collect();
        found.push(format!("crate::{path}"));
    }
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    found
        .iter()
        .filter_map(|path| {
            if let Some(path) = path.strip_prefix("crate::") {
                Some(path.to_owned())
            } else {
                let path = path.strip_prefix("super::")?;
                Some(format!("{parent}::{path}"))
            }
        })
        .map(|path| path.trim_end_matches(':').to_owned())
        .collect()
}

/// The file that a path leads to: the longest prefix that is a module.
fn file_of<'a>(path: &str, sources: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let mut path = path.trim_end_matches("::self");
    loop {
        if let Some((module, _)) = sources.get_key_value(path) {
            return Some(module);
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// Which file imports which.
fn graph(sources: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<&str>> {
    sources
        .iter()
        .filter(|(module, _)| *module != "lib")
        .map(|(module, source)| {
            let imported = imports(module, source)
                .iter()
                .filter_map(|path| file_of(path, sources))
                .filter(|file| file != module)
                .collect();
            (module.as_str(), imported)
        })
        .collect()
}

#[test]
fn a_module_imports_only_modules_listed_below_it() {
    let sources = sources();
    let order = order(&sources["lib"]);
    let place = |module: &str| {
        let folder = module.split("::").next().unwrap_or(module);
        order
            .iter()
            .position(|known| known == folder)
            .unwrap_or_else(|| panic!("lib.rs does not list {folder}"))
    };
    let mut upward = Vec::new();
    for (module, imported) in graph(&sources) {
        for file in imported {
            if place(file) < place(module) {
                upward.push(format!("{module} imports {file}"));
            }
        }
    }
    assert!(upward.is_empty(), "imports upward: {upward:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources();
    let mut graph = graph(&sources);
    for (_, files) in ONE_TYPE_IN_SEVERAL_FILES {
        for file in files {
            assert!(graph.contains_key(file), "there is no file {file}");
            let imported = graph.get_mut(file).expect("just found");
            imported.retain(|other| !files.contains(other));
        }
    }
    // Removes files that import nothing of what is left. Circles and the files that lead to them stay.
    loop {
        let left: BTreeSet<&str> = graph.keys().copied().collect();
        let before = graph.len();
        graph.retain(|_, imported| imported.iter().any(|file| left.contains(file)));
        if graph.len() == before {
            break;
        }
    }
    // Removes files that nothing of what is left imports, so that only circles stay.
    loop {
        let imported: BTreeSet<&str> = graph.values().flatten().copied().collect();
        let before = graph.len();
        graph.retain(|file, _| imported.contains(file));
        if graph.len() == before {
            break;
        }
    }
    let left: BTreeSet<&str> = graph.keys().copied().collect();
    for imported in graph.values_mut() {
        imported.retain(|file| left.contains(file));
    }
    assert!(graph.is_empty(), "circles: {graph:#?}");
}

#[test]
fn no_source_file_is_over_600_lines() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(module, source)| (module, source.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "too long: {long:#?}");
}

#[test]
fn the_reader_of_use_lines_finds_every_form() {
    let source =
        "use crate::{a::B, c::{self, d as e}};\nuse super::f;\nfn g() { crate::h::i(); }\n";
    let expected = ["a::B", "c::self", "c::d", "x::f", "h::i"];
    let found = imports("x::y", source);
    for path in expected {
        assert!(found.contains(path), "{path} is missing from {found:?}");
    }
}
