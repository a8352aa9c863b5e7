//! The smallest components that can be plugins, in WebAssembly's text format, each with something wrong in it.

/// The pieces of a component that differ; without any, `run` returns ok with an empty summary.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// What the start function does.
    pub start: &'a str,
    /// What `describe`, `run` and the allocator do before they do what they should.
    pub describe: &'a str,
    pub run: &'a str,
    pub realloc: &'a str,
    /// The linear memory, in pages, and more of the module's own.
    pub memory: &'a str,
    pub more: &'a str,
    /// What `describe` returns.
    pub description: &'a str,
    /// The name under which everything is exported.
    pub export: &'a str,
}

pub const LOOP: &str = "(loop $again (br $again))";

/// A description without settings and series.
pub const DESCRIPTION: &str = r#"{"version": "1", "summary": "A test.", "settings": {}}"#;

impl Default for Parts<'_> {
    fn default() -> Self {
        Self {
            start: "",
            describe: "",
            run: "",
            realloc: "",
            memory: "1",
            more: "",
            description: DESCRIPTION,
            export: "roundsman:check/check@0.1.0",
        }
    }
}

impl Parts<'_> {
    pub fn text(&self) -> String {
        let Parts { start, describe, run, realloc, memory, more, description, export } = self;
        let length = description.len();
        let description: String = description.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        format!(
            r#"(component
  (import "roundsman:check/types@0.1.0" (instance $types
    (type $status' (enum "ok" "warning" "critical" "unknown"))
    (export "status" (type $status (eq $status')))
    (type $outcome' (record (field "status" $status) (field "summary" string)))
    (export "outcome" (type $outcome (eq $outcome')))
    (type $fault' (record (field "code" string) (field "message" string)))
    (export "fault" (type (eq $fault')))))
  (import "roundsman:check/context@0.1.0" (instance $context (export "settings" (func (result string)))))
  (alias export $types "outcome" (type $outcome))
  (alias export $types "fault" (type $fault))
  (core module $memory
    (memory (export "memory") {memory})
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc} (i32.const 32768)))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $memory))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $settings (canon lower (func $context "settings") (memory $memory) (realloc $realloc)))
  (core module $code
    (import "host" "memory" (memory 0))
    (import "host" "settings" (func $settings (param i32)))
    {more}
    (func $start {start})
    (start $start)
    (func (export "describe") (result i32) {describe}
      (i32.store (i32.const 16) (i32.const 4096)) (i32.store (i32.const 20) (i32.const {length})) (i32.const 16))
    (func (export "validate") (param i32 i32) (result i32) (i32.const 64))
    (func (export "run") (result i32) {run} (i32.const 96))
    (data (i32.const 4096) "{description}"))
  (core instance $code (instantiate $code (with "host" (instance
    (export "memory" (memory $memory)) (export "settings" (func $settings))))))
  (func $describe (result string) (canon lift (core func $code "describe") (memory $memory)))
  (func $validate (param "settings" string) (result (result (error $fault)))
    (canon lift (core func $code "validate") (memory $memory) (realloc $realloc)))
  (func $run (result (result $outcome (error $fault))) (canon lift (core func $code "run") (memory $memory)))
  (instance $check
    (export "describe" (func $describe)) (export "validate" (func $validate)) (export "run" (func $run)))
  (export "{export}" (instance $check)))"#
        )
    }

    pub fn bytes(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap_or_else(|error| panic!("{error}"))
    }
}
