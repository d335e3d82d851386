//! Holds the house to its own standard: sizes, heads of files, the wall between the packages, and
//! what the README says of the tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_LETTERS_MAX: usize = 100;
/// Where Rust lies.
const ROOMS: [&str; 6] = ["src", "actors", "tests", "benches", "examples", "derive"];
/// The files that wire actors (the stages, and a partition when it comes), and the one that shows
/// what there is.
const MAY_NAME_ACTORS: [&str; 3] = ["topology.rs", "front.rs", "lib.rs"];

#[test]
fn no_file_is_longer_than_400_lines() {
    none(&sources(), |source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{lines} lines")).into_iter().collect()
    });
}

#[test]
fn no_function_is_longer_than_70_lines() {
    none(&sources(), |source| {
        let long = functions(&source.text).into_iter().filter(|(_, _, n)| *n > FUNCTION_LINES_MAX);
        long.map(|(line, name, lines)| format!("{line}: `{name}` has {lines} lines")).collect()
    });
}

#[test]
fn no_line_is_longer_than_100_letters() {
    none(&sources(), |source| {
        let lines = source.text.lines().enumerate();
        let long = lines.filter(|(_, line)| line.chars().count() > LINE_LETTERS_MAX);
        long.map(|(index, line)| format!("{}: {} letters", index + 1, line.chars().count()))
            .collect()
    });
}

#[test]
fn every_file_says_at_its_head_what_it_is() {
    none(&sources(), |source| {
        let says = source.text.starts_with("//! ");
        (!says).then(|| "no `//!` at its head".to_owned()).into_iter().collect()
    });
}

#[test]
fn everything_to_do_names_an_issue() {
    // Put together here, so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    none(&sources(), |source| {
        let open = |line: &str| {
            marks.iter().any(|mark| {
                line.find(mark).is_some_and(|at| !line[at + mark.len()..].starts_with("(#"))
            })
        };
        let lines = source.text.lines().enumerate().filter(|(_, line)| open(line));
        lines.map(|(index, line)| format!("{}: {}", index + 1, line.trim())).collect()
    });
}

#[test]
fn only_the_topology_names_two_actors() {
    let house = sources().into_iter().filter(|source| source.path.starts_with("actors"));
    let house = house.collect::<Vec<_>>();
    let cast = house.iter().flat_map(|source| {
        actors_of(&source.text).into_iter().map(|actor| (actor, source.path.clone()))
    });
    let cast = cast.collect::<BTreeMap<_, _>>();
    none(&house, |source| {
        let name = source.path.file_name().unwrap_or_default();
        if MAY_NAME_ACTORS.iter().any(|may| name == *may) || is_test(&source.path) {
            return Vec::new();
        }
        let code = code_of(&source.text);
        let words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        let words = words.collect::<std::collections::BTreeSet<_>>();
        let foreign = |home: &PathBuf| room_of(home) != room_of(&source.path);
        let named =
            cast.iter().filter(|(actor, home)| words.contains(actor.as_str()) && foreign(home));
        named.map(|(actor, _)| format!("names the actor `{actor}`")).collect()
    });
}

#[test]
fn the_house_knows_neither_kafka_nor_sql() {
    let manifest = read("actors/Cargo.toml");
    let manifest = manifest.lines().filter(|line| !line.starts_with("description"));
    let manifest = manifest.collect::<Vec<_>>().join("\n").to_lowercase();
    for stranger in ["kafka", "diesel", "postgres", "sqlx"] {
        assert!(!manifest.contains(stranger), "actors/Cargo.toml names {stranger}");
    }
}

#[test]
fn the_readme_shows_the_tree_as_it_is() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else { return };
    let missing = layout(&readme).into_iter().filter(|path| !root().join(path).exists());
    let missing = missing.collect::<Vec<_>>();
    assert!(missing.is_empty(), "the README's layout names what is not there: {missing:?}");
}

#[test]
fn the_rules_see_what_they_should() {
    let long = format!("impl A {{\n    pub fn b() {{\n{}    }}\n}}\n", "        c();\n".repeat(80));
    assert_eq!(functions(&long), [(2, "b".to_owned(), 82)]);
    let text = "impl<P> Actor for Loader<P> {\n// Worker\nlet a = \"Worker\";\n#[cfg(test)]";
    assert_eq!(actors_of(text), ["Loader"]);
    assert!(!code_of(text).contains("Worker"));
    let readme = "## Layout\n```\nsrc/  the service\n  a.rs  ~50\n├── b.rs\nCargo.toml\n```";
    assert_eq!(layout(readme), ["src", "src/a.rs", "src/b.rs", "Cargo.toml"].map(PathBuf::from));
}

struct Source {
    path: PathBuf,
    text: String,
}

/// Panics with all that `look` finds in all of the sources.
fn none(sources: &[Source], look: impl Fn(&Source) -> Vec<String>) {
    assert!(!sources.is_empty());
    let found = sources.iter().flat_map(|source| {
        let path = source.path.display().to_string();
        look(source).into_iter().map(move |what| format!("{path}: {what}"))
    });
    let found = found.collect::<Vec<_>>();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for room in ROOMS {
        gather(&root().join(room), &mut found);
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn gather(directory: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let path = path.strip_prefix(root()).expect("a path inside").to_owned();
            found.push(Source { path, text });
        }
    }
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("/tests/") || text.ends_with("tests.rs") || text.ends_with("testing.rs")
}

/// An actor's own room: its file, or the folder of that name beside it.
fn room_of(path: &Path) -> PathBuf {
    let mut parts = path.components().skip(1);
    parts.next().map(|first| Path::new(first.as_os_str()).with_extension("")).unwrap_or_default()
}

/// Line, name and length of each function. The code is formatted, so that a function ends at the
/// first closing brace which stands as far in as its head.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines = text.lines().collect::<Vec<_>>();
    let mut found = Vec::new();
    for (begin, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = lines[begin..].iter().position(|line| {
            let stands = line.len() - line.trim_start().len() == indent;
            stands && (line.trim_end().ends_with('}') || line.trim_end().ends_with(';'))
        });
        found.push((begin + 1, name.to_owned(), end.unwrap_or(0) + 1));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let (head, rest) = line.split_once("fn ")?;
    let mut words = head.split_whitespace();
    let head = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let is_head = words.all(|word| head.contains(&word));
    let name = rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?;
    (is_head && !name.is_empty()).then_some(name)
}

/// The types that a file makes actors.
fn actors_of(text: &str) -> Vec<String> {
    let heads = text.lines().map(str::trim_start).filter(|line| line.starts_with("impl"));
    let types = heads.filter_map(|line| line.split_once(" Actor for ").map(|(_, rest)| rest));
    let name = |rest: &str| rest.chars().take_while(|letter| letter.is_alphanumeric()).collect();
    types.map(name).collect()
}

/// The text without its tests, comments and strings.
fn code_of(text: &str) -> String {
    let code = text.lines().take_while(|line| !line.trim().starts_with("#[cfg(test)]"));
    let code = code.map(|line| line.split("//").next().unwrap_or_default());
    let mut without_strings = String::new();
    for line in code {
        let outside = line.split('"').step_by(2);
        without_strings.extend(outside.flat_map(|part| [part, " "]));
        without_strings.push('\n');
    }
    without_strings
}

/// The paths of the tree in the README's section "Layout".
fn layout(readme: &str) -> Vec<PathBuf> {
    let is_heading = |line: &&str| line.starts_with('#') && line.contains("Layout");
    let lines = readme.lines().skip_while(|line| !is_heading(line));
    let lines = lines.skip_while(|line| !line.starts_with("```")).skip(1);
    let mut above = Vec::<(usize, PathBuf)>::new();
    let mut found = Vec::new();
    for line in lines.take_while(|line| !line.starts_with("```")) {
        let is_drawn = |letter: char| " │├└─".contains(letter);
        let indent = line.chars().take_while(|letter| is_drawn(*letter)).count();
        let name = line.trim_start_matches(is_drawn).split_whitespace().next().unwrap_or_default();
        if !name.ends_with('/') && !name.contains('.') {
            continue;
        }
        above.retain(|(outer, _)| *outer < indent);
        let path = above.last().map(|(_, path)| path.clone()).unwrap_or_default();
        let path = path.join(name.trim_end_matches(['/', ',']));
        found.push(path.clone());
        if name.ends_with('/') {
            above.push((indent, path));
        }
    }
    found
}
