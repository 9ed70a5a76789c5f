//! The documents say what is true of the source: the files that they name exist, and the limits have the values that they list.

use std::{collections::BTreeSet, fs, path::Path};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The expression of a constant in a file.
fn constant<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = source.split_once(&format!("const {name}: "))?;
    let (_, rest) = rest.split_once(" = ")?;
    Some(rest.split_once(';')?.0)
}

/// The value of an expression: sums, products and quotients of numbers and constants; a duration in milliseconds; of a pair,
/// the first number.
fn value(expression: &str, source: &str) -> f64 {
    let expression = expression.trim();
    if let Some(pair) = expression.strip_prefix('(') {
        return value(pair.split(',').next().unwrap_or(pair), source);
    }
    if let Some(duration) = expression.strip_prefix("Duration::from_") {
        let (unit, number) = duration.split_once('(').expect("a call");
        let factor = match unit {
            "millis" => 1.0,
            "secs" => 1_000.0,
            "mins" => 60_000.0,
            other => panic!("from_{other}"),
        };
        return factor * value(number.trim_end_matches(')'), source);
    }
    if let Some((left, right)) = expression.split_once('+') {
        return value(left, source) + value(right, source);
    }
    if let Some((left, right)) = expression.split_once('/') {
        return value(left, source) / value(right, source);
    }
    if let Some((left, right)) = expression.split_once('*') {
        return value(left, source) * value(right, source);
    }
    let number = expression.replace('_', "");
    number.parse().unwrap_or_else(|_| {
        let found = constant(source, expression).unwrap_or_else(|| panic!("{expression}"));
        value(found, source)
    })
}

/// A value as the tables write it: `64 KiB`, `10 s`, `100`.
fn documented(text: &str) -> f64 {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit {
        "" => 1.0,
        "KiB" => 1_024.0,
        "MiB" => 1_048_576.0,
        "s" => 1_000.0,
        "min" => 60_000.0,
        other => panic!("the unit {other}"),
    };
    factor * number.parse::<f64>().expect(text)
}

#[test]
fn the_limits_have_the_values_that_the_document_lists() {
    let document = read("docs/limits.md");
    let settings = read("docs/settings.md");
    let mut listed = BTreeSet::new();
    for row in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, _, text, place, ..] = cells[..] else {
            panic!("{row}");
        };
        let mut names = place.split('`').skip(1).step_by(2);
        if let (Some(file), Some(name)) = (names.next(), names.next()) {
            let source = read(file);
            let expression =
                constant(&source, name).unwrap_or_else(|| panic!("{file} has no {name}"));
            let difference = documented(text) - value(expression, &source);
            assert!(difference.abs() < f64::EPSILON, "{row}: {expression}");
            if file == "src/limits.rs" {
                listed.insert(name.to_owned());
            }
        } else if text.starts_with("setting") {
            for setting in text.split('`').skip(1).step_by(2) {
                assert!(settings.contains(&format!("`{setting}`")), "{row}");
            }
        }
    }
    let limits = read("src/limits.rs");
    let defined = limits
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, defined, "docs/limits.md lists src/limits.rs");
}

#[test]
fn documents_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = [
        "README.md",
        "README.ko.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .map(|name| root.join(name))
    .to_vec();
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root.join(folder)).expect("a folder can be read");
        documents.extend(entries.map(|entry| entry.expect("an entry can be read").path()));
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut missing = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).expect("a text");
        let in_path = |c: char| c.is_alphanumeric() || matches!(c, '/' | '_' | '-' | '.');
        for name in text.split(|c| !in_path(c)) {
            let name = name.trim_end_matches('.');
            let is_source = Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "rs");
            if name.starts_with("src/") && is_source && !root.join(name).exists() {
                missing.push(format!("{} names {name}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Checks that the tests of `tests/integration/` that a document names exist, and returns their number.
fn named_tests(document: &str) -> usize {
    let quoted = document.split('`').skip(1).step_by(2);
    let mut named = 0;
    for (module, test) in quoted.filter_map(|name| name.split_once("::")) {
        if test.ends_with('…') {
            continue;
        }
        let source = read(&format!("tests/integration/{module}.rs"));
        assert!(source.contains(&format!("fn {test}()")), "{module}::{test}");
        named += 1;
    }
    named
}

#[test]
fn the_attacks_name_tests_that_exist() {
    let document = read("docs/attacks.md");
    let named = named_tests(&document);
    assert!(named > 30, "the document names {named} tests");
    let words: BTreeSet<&str> = document.split(|c: char| !c.is_alphanumeric()).collect();
    for row in 1..=35 {
        assert!(words.contains(&*format!("S{row}")), "S{row} is missing");
    }
}

#[test]
fn each_alert_has_a_runbook() {
    let runbooks = read("docs/operations.md");
    let alerts = read("deploy/monitoring/alerts.yml");
    let names: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in names {
        assert!(runbooks.contains(&format!("### {name}\n")), "{name}");
        let link = format!("runbook: docs/operations.md#{}\n", name.to_lowercase());
        assert!(alerts.contains(&link), "{link}");
    }
}

#[test]
fn the_guarantees_name_tests_that_exist() {
    let document = read("docs/guarantees.md");
    for promise in document.split("\n## ").skip(1) {
        let title = promise.lines().next().unwrap_or_default();
        assert!(named_tests(promise) > 2, "{title}");
        assert!(promise.contains("Not promised: "), "{title}");
    }
    assert_eq!(document.matches("\n## ").count(), 7);
}

#[test]
fn the_repair_of_librdkafka_is_for_this_version() {
    // After an update, see whether https://github.com/confluentinc/librdkafka/issues/5280 is fixed, so that the repair can go. If it
    // is not, compare the types in the repair with those of the new version.
    let lock = read("Cargo.lock");
    assert!(lock.contains("name = \"rdkafka-sys\"\nversion = \"4.10.0+2.12.1\"\n"));
    assert!(read("src/events/librdkafka.c").contains("librdkafka 2.12.1"));
}
