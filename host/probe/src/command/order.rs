//! What is to be run: a program, its arguments, its variables and its input, each within bounds.

use std::time::Duration;

use crate::failure::{Failure, code, phase};

/// Arguments of one program. Shells are not involved, so there are no lists of files.
const MAX_ARGUMENTS: usize = 256;
/// Bytes of all arguments and variables together; the kernel takes 128 KiB for each at least.
const MAX_TEXT: usize = 64 << 10;
const MAX_VARIABLES: usize = 64;
const MAX_NAME: usize = 128;
/// Bytes of standard input; a guest hands over no more with one call.
const MAX_INPUT: usize = 1 << 20;
/// Bytes that are kept of each output. Nagios reads 8 KiB, and a page of metrics is rarely larger.
pub(super) const MAX_OUTPUT: usize = 256 << 10;

/// Variables that make interpreters and the loader run other code than the program's own, or find other files: with them,
/// a grant for one program would be a grant for many.
const REFUSED: [&str; 30] = [
    "PATH",
    "IFS",
    "ENV",
    "BASHOPTS",
    "SHELLOPTS",
    "PS4",
    "CDPATH",
    "GLOBIGNORE",
    "FPATH",
    "ZDOTDIR",
    "HOME",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "SHELL",
    "BROWSER",
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "HOSTALIASES",
    "LOCALDOMAIN",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "GETCONF_DIR",
    "TMPDIR",
    "TERMINFO",
    "TERMCAP",
    "CLASSPATH",
    "SSLKEYLOGFILE",
    "PROMPT_COMMAND",
];
/// The same, by how they begin.
const REFUSED_BEGINNINGS: [&str; 19] = [
    "LD_", "GLIBC_", "MALLOC_", "BASH_", "PERL", "PYTHON", "RUBY", "GEM_", "NODE_", "LUA_", "JAVA_", "_JAVA_", "JDK_",
    "PHP", "GIT_", "OPENSSL_", "XDG_", "LESS", "MIBS",
];

/// A program to be run.
#[derive(Debug, Clone)]
pub struct Order {
    path: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    secrets: Vec<Secret>,
    input: Vec<u8>,
    max_output: usize,
    timeout: Option<Duration>,
    /// Of arguments and variables.
    text: usize,
    /// The first thing that makes it impossible. Said when it is to be run.
    trouble: Option<Failure>,
}

/// A secret as a variable.
#[derive(Debug, Clone)]
pub(super) struct Secret {
    pub(super) variable: String,
    pub(super) name: String,
    pub(super) key: String,
}

impl Order {
    /// By its absolute path. Nothing is checked until it is run.
    pub fn new(path: &str) -> Order {
        Order {
            path: path.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            secrets: Vec::new(),
            input: Vec::new(),
            max_output: MAX_OUTPUT,
            timeout: None,
            text: 0,
            trouble: None,
        }
    }

    /// One argument more, as it is.
    pub fn add_argument(&mut self, argument: &str) {
        if self.arguments.len() == MAX_ARGUMENTS {
            self.refuse(Failure::limit(format!("a program has at most {MAX_ARGUMENTS} arguments")));
        } else if self.takes("an argument", argument) {
            self.arguments.push(argument.to_owned());
        }
    }

    /// A variable of its environment.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        if self.takes_variable(name) && self.takes("a variable", value) {
            self.environment.push((name.to_owned(), value.to_owned()));
        }
    }

    /// What a secret holds under a key, as a variable.
    pub fn set_environment_secret(&mut self, name: &str, secret: &str, key: &str) {
        if self.takes_variable(name) && self.takes("the name of a secret", secret) && self.takes("its key", key) {
            let (variable, name, key) = (name.to_owned(), secret.to_owned(), key.to_owned());
            self.secrets.push(Secret { variable, name, key });
        }
    }

    /// What it reads from standard input.
    pub fn set_input(&mut self, bytes: Vec<u8>) {
        if bytes.len() > MAX_INPUT {
            self.refuse(Failure::limit(format!("a program gets at most {MAX_INPUT} bytes as input")));
        } else {
            self.input = bytes;
        }
    }

    /// Of each of the two outputs, at most so many bytes are kept, and at most 256 KiB.
    pub fn set_max_output(&mut self, bytes: usize) {
        self.max_output = bytes.min(MAX_OUTPUT);
    }

    /// It is killed then.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// There are none so far.
    pub fn set_option(&mut self, name: &str, _value: &str) -> Result<(), Failure> {
        let message = format!("programs have no option `{}`", roundsman_model::name::excerpt(name));
        Err(Failure::new(code::UNSUPPORTED, phase::COMMAND, message))
    }

    /// For whoever tells what was run.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Path and arguments, for a person and for a script.
    pub(crate) fn line(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| format!(" {argument}"));
        std::iter::once(self.path.clone()).chain(arguments).collect()
    }

    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    pub(super) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub(super) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (&**name, &**value))
    }

    pub(super) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    pub(super) fn take_input(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    pub(crate) fn max_output(&self) -> usize {
        self.max_output
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    pub(super) fn is_sound(&self) -> Result<(), Failure> {
        self.trouble.clone().map_or(Ok(()), Err)
    }

    fn refuse(&mut self, trouble: Failure) {
        self.trouble.get_or_insert(trouble);
    }

    fn takes(&mut self, what: &str, text: &str) -> bool {
        self.text = self.text.saturating_add(text.len());
        if text.contains('\0') {
            self.refuse(Failure::invalid(format!("{what} holds a zero byte")));
        } else if self.text > MAX_TEXT {
            self.refuse(Failure::limit(format!("a program gets at most {MAX_TEXT} bytes of arguments and variables")));
        }
        self.trouble.is_none()
    }

    fn takes_variable(&mut self, name: &str) -> bool {
        let excerpt = roundsman_model::name::excerpt(name);
        if self.environment.len() + self.secrets.len() == MAX_VARIABLES {
            self.refuse(Failure::limit(format!("a program gets at most {MAX_VARIABLES} variables")));
        } else if !is_name(name) {
            self.refuse(Failure::invalid(format!("`{excerpt}` is no name of a variable")));
        } else if is_refused(name) {
            let message = format!("the variable {excerpt} can make a program run other code: no plugin may set it");
            self.refuse(Failure::new(code::DENIED, phase::POLICY, message));
        }
        self.trouble.is_none() && self.takes("a name", name)
    }
}

/// What shells call a name. Others can carry whole functions.
fn is_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_refused(name: &str) -> bool {
    REFUSED.contains(&name) || REFUSED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(draw_up: impl FnOnce(&mut Order)) -> Option<&'static str> {
        let mut order = Order::new("/x");
        draw_up(&mut order);
        order.is_sound().err().map(|failure| failure.code)
    }

    #[test]
    fn variables() {
        for (name, expected) in [
            ("NAGIOS_HOSTNAME", None),
            ("LANG", None),
            ("LC_ALL", None),
            ("TZ", None),
            ("http_proxy", None),
            ("_x1", None),
            ("", Some(code::INVALID)),
            ("1x", Some(code::INVALID)),
            ("A B", Some(code::INVALID)),
            ("A=B", Some(code::INVALID)),
            ("BASH_FUNC_ls%%", Some(code::INVALID)),
            ("Ä", Some(code::INVALID)),
            ("PATH", Some(code::DENIED)),
            ("LD_PRELOAD", Some(code::DENIED)),
            ("BASH_ENV", Some(code::DENIED)),
            ("PERL5OPT", Some(code::DENIED)),
            ("PYTHONPATH", Some(code::DENIED)),
            ("_JAVA_OPTIONS", Some(code::DENIED)),
        ] {
            assert_eq!(trouble(|order| order.set_environment(name, "x")), expected, "{name:?}");
            assert_eq!(trouble(|order| order.set_environment_secret(name, "s", "")), expected, "{name:?}");
        }
    }

    #[test]
    fn bounds() {
        let many = |count: usize, order: &mut Order| (0..count).for_each(|n| order.add_argument(&n.to_string()));
        assert_eq!(trouble(|order| many(MAX_ARGUMENTS, order)), None);
        assert_eq!(trouble(|order| many(MAX_ARGUMENTS + 1, order)), Some(code::LIMIT));
        assert_eq!(trouble(|order| order.add_argument(&"x".repeat(MAX_TEXT))), None);
        assert_eq!(trouble(|order| order.add_argument(&"x".repeat(MAX_TEXT + 1))), Some(code::LIMIT));
        let half = "x".repeat(MAX_TEXT / 2 + 1);
        let both = |order: &mut Order| {
            order.add_argument(&half);
            order.set_environment("A", &half);
        };
        assert_eq!(trouble(both), Some(code::LIMIT));
        let variables =
            |count: usize, order: &mut Order| (0..count).for_each(|n| order.set_environment(&format!("A{n}"), ""));
        assert_eq!(trouble(|order| variables(MAX_VARIABLES, order)), None);
        assert_eq!(trouble(|order| variables(MAX_VARIABLES + 1, order)), Some(code::LIMIT));
        assert_eq!(trouble(|order| order.set_input(vec![0; MAX_INPUT])), None);
        assert_eq!(trouble(|order| order.set_input(vec![0; MAX_INPUT + 1])), Some(code::LIMIT));
        assert_eq!(trouble(|order| order.add_argument("a\0b")), Some(code::INVALID));
        assert_eq!(trouble(|order| order.set_environment("A", "a\0b")), Some(code::INVALID));
        let mut order = Order::new("/x");
        order.set_max_output(usize::MAX);
        assert_eq!(order.max_output(), MAX_OUTPUT);
        assert_eq!(order.set_option("nice", "1").unwrap_err().code, code::UNSUPPORTED);
    }
}
