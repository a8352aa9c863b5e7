//! What rows need before they begin: the guests, the shipped plugins, a C program that does nothing, a certificate.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What guests are compiled for.
const TARGET: &str = "wasm32-wasip2";
/// Where servers are, as the certificate has it.
const ADDRESS: &str = "127.0.0.1";

/// The folder of prepared things, in the target folder.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    target: PathBuf,
    agent: PathBuf,
}

impl Place {
    /// By where this program lies: `target/dist/examples/bench`.
    pub(crate) fn find() -> Result<Self> {
        let program = env::current_exe()?;
        let profile = program.ancestors().nth(2).context("the benchmark does not lie in a profile's folder")?;
        let target = profile.parent().context("the benchmark does not lie in a target folder")?;
        Ok(Self { target: target.to_owned(), agent: profile.join("roundsman") })
    }

    fn own(&self, name: &str) -> PathBuf {
        self.target.join("bench").join(name)
    }

    /// A plugin by name: a guest of the benchmark, or one that is shipped; `http-2` is `http` once more.
    pub(crate) fn plugin(&self, name: &str) -> PathBuf {
        let name = name.strip_suffix("-2").unwrap_or(name);
        let own = self.own(&format!("{name}.wasm"));
        if own.is_file() { own } else { self.target.join("plugins").join(format!("{name}.wasm")) }
    }

    /// The agent itself.
    pub(crate) fn agent(&self) -> &Path {
        &self.agent
    }

    /// A static C program that does nothing.
    pub(crate) fn c_program(&self) -> PathBuf {
        self.own("noop")
    }

    /// The certificate that clients are to trust, as PEM.
    pub(crate) fn authority(&self) -> PathBuf {
        self.own("certificate.pem")
    }

    /// The same and its key, as DER.
    pub(crate) fn certificate(&self) -> [PathBuf; 2] {
        [self.own("certificate.der"), self.own("key.der")]
    }
}

/// Makes everything anew; what is there already is quickly done.
pub(crate) fn prepare() -> Result<Place> {
    let place = Place::find()?;
    fs::create_dir_all(place.own(""))?;
    build_guests(&place)?;
    compile_c(&place.c_program())?;
    make_certificate(&place)?;
    for needed in [place.agent(), &place.plugin("http")] {
        ensure!(needed.is_file(), "there is no {}: `cargo xtask bench` builds it", needed.display());
    }
    Ok(place)
}

fn build_guests(place: &Place) -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/bench/guest/Cargo.toml");
    let build = place.target.join("bench-guest");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--release", "--lib", "--example", "bench_noop", "--target", TARGET]);
    run(command.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(&build))?;
    for (built, name) in [("bench_point", "point"), ("examples/bench_noop", "noop")] {
        let from = build.join(TARGET).join("release").join(format!("{built}.wasm"));
        let to = place.own(&format!("{name}.wasm"));
        fs::copy(&from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

fn compile_c(program: &Path) -> Result<()> {
    let source = program.with_extension("c");
    fs::write(&source, "int main(void) { return 0; }\n")?;
    run(Command::new("cc").args(["-O2", "-static", "-o"]).arg(program).arg(&source))
}

fn make_certificate(place: &Place) -> Result<()> {
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec![ADDRESS.to_owned()])?.self_signed(&key)?;
    let [certificate_der, key_der] = place.certificate();
    fs::write(place.authority(), certificate.pem())?;
    fs::write(certificate_der, certificate.der())?;
    fs::write(key_der, key.serialize_der())?;
    // For servers that want text.
    fs::write(place.own("key.pem"), key.serialize_pem())?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} failed ({status})");
    Ok(())
}
