//! YAML as a tree in which every key and every value knows its line and column.
//!
//! The parser below hands out events with positions; from them a tree is built that the typed readers of `read` walk,
//! so that a value out of range is told with the same precision as a missing bracket. Limits keep a hostile or a
//! mistaken file from costing more than its size: depth, number of nodes, bytes copied for aliases. Merge keys (`<<`),
//! several documents in one file and tags other than `!!str` are refused: nothing here needs them.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};

/// Deeper than any configuration, far from the end of the stack of what walks the tree by recursion.
pub const MAX_DEPTH: usize = 64;

/// Nodes of one document, aliases expanded: some ten times what the largest sensible file holds.
const MAX_NODES: usize = 200_000;

/// Bytes copied for anchors and aliases of one document. Against "billion laughs".
const MAX_COPIED: usize = 4 << 20;

/// What a node costs besides its text when it is copied.
const NODE_COST: usize = 64;

/// Where something stands. Line 0: the source has no lines (an environment variable, a flag).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the sources that are read together.
    pub source: u16,
    pub line: u32,
    pub column: u32,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub place: Place,
    pub value: Tree,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Tree {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: Box<str>,
    pub place: Place,
    pub value: Node,
}

/// Text whose type is decided by who reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    pub text: Box<str>,
    /// Written without quotes: may be a number, a truth value or nothing at all.
    pub plain: bool,
}

/// A scalar by the core schema of YAML 1.2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resolved<'n> {
    Null,
    Boolean(bool),
    Integer(i128),
    Real(f64),
    Text(&'n str),
}

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    pub message: String,
    pub hint: Option<String>,
}

impl Node {
    /// A mapping without keys.
    pub fn empty_map(place: Place) -> Self {
        Self { place, value: Tree::Map(Vec::new()) }
    }

    /// Text that is text, whatever it looks like.
    pub fn text(place: Place, text: &str) -> Self {
        Self { place, value: Tree::Scalar(Scalar { text: text.into(), plain: false }) }
    }

    /// Whether nothing is written here.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Tree::Scalar(scalar) if scalar.resolve() == Resolved::Null)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Tree::Map(entries) => entries.iter().find(|e| &*e.key == key).map(|e| &e.value),
            _ => None,
        }
    }

    /// The node that a JSON pointer names, or the nearest one above it that exists.
    pub fn nearest(&self, pointer: &str) -> &Node {
        let mut node = self;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let inner = match &node.value {
                Tree::List(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => node.get(&part),
            };
            match inner {
                Some(inner) => node = inner,
                None => break,
            }
        }
        node
    }

    fn cost(&self) -> (usize, usize) {
        let add = |sum: (usize, usize), node: &Node| {
            let (nodes, bytes) = node.cost();
            (sum.0 + nodes, sum.1 + bytes)
        };
        match &self.value {
            Tree::Scalar(scalar) => (1, NODE_COST + scalar.text.len()),
            Tree::List(items) => items.iter().fold((1, NODE_COST), add),
            Tree::Map(entries) => entries.iter().fold((1, NODE_COST), |sum, entry| {
                let (nodes, bytes) = add(sum, &entry.value);
                (nodes, bytes + entry.key.len())
            }),
        }
    }
}

impl Scalar {
    /// What an unquoted word means: null, a truth value, a number, or itself.
    pub fn resolve(&self) -> Resolved<'_> {
        let text = &*self.text;
        if !self.plain {
            return Resolved::Text(text);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
            "true" | "True" | "TRUE" => Resolved::Boolean(true),
            "false" | "False" | "FALSE" => Resolved::Boolean(false),
            _ => integer(text).map(Resolved::Integer).or_else(|| real(text)).unwrap_or(Resolved::Text(text)),
        }
    }
}

/// A number with leading zeros is text: YAML 1.1 and 1.2 disagree about its value.
fn integer(text: &str) -> Option<i128> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let clean = !digits.starts_with(['+', '-']);
            return clean.then(|| i128::from_str_radix(digits, radix).ok()).flatten();
        }
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    (all_digits && !leading_zero).then(|| text.parse().ok()).flatten()
}

fn real(text: &str) -> Option<Resolved<'_>> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let words = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"];
    if words.contains(&unsigned) {
        return Some(Resolved::Real(if unsigned.eq_ignore_ascii_case(".nan") { f64::NAN } else { f64::INFINITY }));
    }
    let digit_first = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
    let begins = digit_first(unsigned) || unsigned.strip_prefix('.').is_some_and(digit_first);
    let leading_zero =
        unsigned.len() > 1 && unsigned.starts_with('0') && unsigned[1..].starts_with(|c: char| c.is_ascii_digit());
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    (begins && !leading_zero && unsigned.bytes().all(allowed)).then(|| text.parse().ok()).flatten().map(Resolved::Real)
}

/// Reads one document; a text without one (empty, or comments alone) is an empty plain scalar.
pub fn parse(text: &[u8], source: u16) -> Result<Node, Vec<Fault>> {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => return Err(vec![not_utf8(text, error.valid_up_to(), source)]),
    };
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut builder = Builder::new(source);
    for next in Parser::new_from_str_with_options(text, options) {
        let step = next.map_err(|error| builder.syntax(&error)).and_then(|(event, span)| builder.event(event, span));
        if let Err(fault) = step {
            builder.faults.push(fault);
            return Err(builder.faults);
        }
    }
    let start = Place { source, line: 1, column: 1 };
    let nothing = Node { place: start, value: Tree::Scalar(Scalar { text: "".into(), plain: true }) };
    if builder.faults.is_empty() { Ok(builder.root.unwrap_or(nothing)) } else { Err(builder.faults) }
}

fn not_utf8(text: &[u8], good: usize, source: u16) -> Fault {
    let before = String::from_utf8_lossy(&text[..good]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let place = Place { source, line: small(line), column: small(column) };
    Fault { place, message: "the file is not UTF-8 from here on".to_owned(), hint: Some("save it as UTF-8".to_owned()) }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A collection that has begun and not ended.
enum Frame {
    List { place: Place, anchor: usize, items: Vec<Node> },
    Map { place: Place, anchor: usize, entries: Vec<Entry>, key: Option<(Box<str>, Place)> },
}

struct Builder {
    source: u16,
    open: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    copied: usize,
    faults: Vec<Fault>,
}

impl Builder {
    fn new(source: u16) -> Self {
        let (open, root, anchors, faults) = (Vec::new(), None, HashMap::new(), Vec::new());
        Self { source, open, root, documents: 0, anchors, nodes: 0, copied: 0, faults }
    }

    fn place(&self, span: &Span) -> Place {
        Place { source: self.source, line: small(span.start.line()), column: small(span.start.col() + 1) }
    }

    fn syntax(&self, error: &ScanError) -> Fault {
        let marker = error.marker();
        let place = Place { source: self.source, line: small(marker.line()), column: small(marker.col() + 1) };
        fault(place, format!("not YAML: {}", error.info()))
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let place = self.place(&span);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(fault(place, "a second document begins here: one file holds one document"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let forced = text_tag(tag.as_deref(), place)?;
                let plain = style == ScalarStyle::Plain && !forced;
                self.add(Node { place, value: Tree::Scalar(Scalar { text: text.into(), plain }) }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), place)?;
                self.begin(Frame::List { place, anchor, items: Vec::new() }, place)
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), place)?;
                self.begin(Frame::Map { place, anchor, entries: Vec::new(), key: None }, place)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, place),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, frame: Frame, place: Place) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(fault(place, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if let Some(Frame::Map { key: None, .. }) = self.open.last() {
            return Err(fault(place, "a key must be a word, not a list or a mapping"));
        }
        self.open.push(frame);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.open.pop() {
            Some(Frame::List { place, anchor, items }) => self.add(Node { place, value: Tree::List(items) }, anchor),
            Some(Frame::Map { place, anchor, entries, .. }) => {
                self.tell_duplicates(&entries);
                self.add(Node { place, value: Tree::Map(entries) }, anchor)
            }
            None => Ok(()),
        }
    }

    fn tell_duplicates(&mut self, entries: &[Entry]) {
        let mut first: HashMap<&str, Place> = HashMap::with_capacity(entries.len());
        for entry in entries {
            let earlier = *first.entry(&entry.key).or_insert(entry.place);
            if earlier != entry.place {
                let key = roundsman_model::name::excerpt(&entry.key);
                let message = format!("the key `{key}` is here twice, first in line {}", earlier.line);
                self.faults.push(fault(entry.place, message));
            }
        }
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Fault> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(fault(place, "an alias cannot stand inside what it repeats"));
        };
        let (nodes, bytes) = node.cost();
        self.charge(nodes, bytes, place)?;
        let copy = Node { place, ..self.anchors[&anchor].clone() };
        self.add(copy, 0)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.charge(1, 0, node.place)?;
        if anchor != 0 {
            let (nodes, bytes) = node.cost();
            self.charge(nodes, bytes, node.place)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => match key.take() {
                Some((name, place)) => entries.push(Entry { key: name, place, value: node }),
                None => *key = Some(as_key(node)?),
            },
        }
        Ok(())
    }

    fn charge(&mut self, nodes: usize, bytes: usize, place: Place) -> Result<(), Fault> {
        self.nodes += nodes;
        self.copied += bytes;
        if self.nodes > MAX_NODES {
            return Err(fault(place, format!("more than {MAX_NODES} values in one file")));
        }
        if self.copied > MAX_COPIED {
            return Err(fault(place, format!("aliases repeat more than {} MiB", MAX_COPIED >> 20)));
        }
        Ok(())
    }
}

fn as_key(node: Node) -> Result<(Box<str>, Place), Fault> {
    match node.value {
        Tree::Scalar(scalar) if scalar.plain && &*scalar.text == "<<" => Err(Fault {
            place: node.place,
            message: "merge keys (`<<`) are not supported".to_owned(),
            hint: Some("checks share keys through `defaults:`; an alias (*name) repeats a whole value".to_owned()),
        }),
        Tree::Scalar(scalar) => Ok((scalar.text, node.place)),
        Tree::List(_) | Tree::Map(_) => Err(fault(node.place, "a key must be a word, not a list or a mapping")),
    }
}

fn text_tag(tag: Option<&Tag>, place: Place) -> Result<bool, Fault> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(true),
        other => refuse_tag(other, place).map(|()| false),
    }
}

fn refuse_tag(tag: Option<&Tag>, place: Place) -> Result<(), Fault> {
    match tag {
        None => Ok(()),
        Some(tag) => Err(Fault {
            place,
            message: format!("the tag `{}` means nothing here", roundsman_model::name::excerpt(&tag.original())),
            hint: Some("what begins with `!` and is meant as text stands in quotes".to_owned()),
        }),
    }
}

fn fault(place: Place, message: impl Into<String>) -> Fault {
    Fault { place, message: message.into(), hint: None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &[u8]) -> String {
        match parse(text, 0) {
            Ok(_) => "ok".to_owned(),
            Err(faults) => {
                let line = |f: &Fault| format!("{}:{}: {}", f.place.line, f.place.column, f.message);
                faults.iter().map(line).collect::<Vec<_>>().join("\n")
            }
        }
    }

    #[test]
    fn places_of_values_and_keys() {
        let root = parse(b"# top\na: 1\nbb:\n  - x\n  - {c: \"\\u00e4\", d: e}\n", 3).unwrap();
        let list = root.get("bb").unwrap();
        for (node, line, column) in [
            (root.get("a").unwrap(), 2, 4),
            (list, 4, 3),
            (root.nearest("/bb/0"), 4, 5),
            (root.nearest("/bb/1"), 5, 5),
            (root.nearest("/bb/1/d"), 5, 22),
            (root.nearest("/bb/1/missing/deeper"), 5, 5),
        ] {
            assert_eq!(node.place, Place { source: 3, line, column });
        }
        let Tree::Map(entries) = &root.value else { panic!("a mapping") };
        assert_eq!(entries[1].place, Place { source: 3, line: 3, column: 1 });
    }

    #[test]
    fn faults() {
        let deep = format!("a: {}", "[".repeat(100));
        for (text, expected) in [
            ("", "ok"),
            ("# only words\n", "ok"),
            (
                "a: 1\nb: 2\na: 3\nb: 4\n",
                "3:1: the key `a` is here twice, first in line 1\n4:1: the key `b` is here twice, first in line 2",
            ),
            ("a: 1\n---\nb: 2\n", "2:1: a second document begins here: one file holds one document"),
            ("a: &x {b: *x}\n", "1:11: an alias cannot stand inside what it repeats"),
            ("base: &b {a: 1}\nc:\n  <<: *b\n", "3:3: merge keys (`<<`) are not supported"),
            ("[a, b]: c\n", "1:1: a key must be a word, not a list or a mapping"),
            ("a: !thing b\n", "1:11: the tag `!thing` means nothing here"),
            ("a: !!str 12\n", "ok"),
        ] {
            assert_eq!(told(text.as_bytes()), expected, "{text:?}");
        }
        assert!(told(deep.as_bytes()).starts_with("1:"), "{}", told(deep.as_bytes()));
        assert_eq!(told(b"a: \xff"), "1:4: the file is not UTF-8 from here on");
        assert!(told(b"a: [1, 2\nb: 3\n").contains("not YAML"), "{}", told(b"a: [1, 2\nb: 3\n"));
    }

    #[test]
    fn bombs_are_refused() {
        let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let inner = vec![format!("*a{}", i - 1); 10].join(",");
            laughs.push_str(&format!("a{i}: &a{i} [{inner}]\n"));
        }
        assert!(told(laughs.as_bytes()).contains("aliases repeat more than 4 MiB"), "{}", told(laughs.as_bytes()));
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 19), vec!["*a"; 1000].join(","));
        assert!(told(long.as_bytes()).contains("aliases repeat more than 4 MiB"));
        let wide = format!("[{}]", "a,".repeat(300_000));
        assert!(told(wide.as_bytes()).contains("more than 200000 values"));
    }

    #[test]
    fn scalars() {
        let of = |text: &str| match parse(text.as_bytes(), 0).unwrap().value {
            Tree::Scalar(scalar) => format!("{:?}", scalar.resolve()),
            other => format!("{other:?}"),
        };
        for (text, expected) in [
            ("~", "Null"),
            ("true", "Boolean(true)"),
            ("yes", "Text(\"yes\")"),
            ("'true'", "Text(\"true\")"),
            ("12", "Integer(12)"),
            ("-12", "Integer(-12)"),
            ("0x1F", "Integer(31)"),
            ("0o17", "Integer(15)"),
            ("0644", "Text(\"0644\")"),
            ("007.5", "Text(\"007.5\")"),
            ("1.5", "Real(1.5)"),
            ("1e3", "Real(1000.0)"),
            ("-.5", "Real(-0.5)"),
            (".inf", "Real(inf)"),
            (".nan", "Real(NaN)"),
            ("10s", "Text(\"10s\")"),
            ("1.2.3.4", "Text(\"1.2.3.4\")"),
            ("inf", "Text(\"inf\")"),
            ("!!str 12", "Text(\"12\")"),
            ("🦀", "Text(\"🦀\")"),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn aliases_repeat_values() {
        let root = parse(b"a: &x {b: 1}\nc: *x\n", 0).unwrap();
        assert_eq!(root.nearest("/c/b").value, root.nearest("/a/b").value);
        assert_eq!(root.get("c").unwrap().place.line, 2);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _tree = parse(&bytes, 0);
        }

        #[test]
        fn arbitrary_yaml_like_text_never_panics(text in "[-a-c:{}\\[\\]&*!,#|>'\"%@? \n\t0-9.~<$é]{0,200}") {
            if let Ok(node) = parse(text.as_bytes(), 0) {
                let _walked = node.nearest("/a/0/b").cost();
            }
        }
    }
}
