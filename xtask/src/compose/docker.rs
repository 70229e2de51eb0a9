//! Docker for the test: a daemon, a base image and an image with what was built here.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::wait_for;
use crate::{
    dist, firmware, modules, paths,
    run::{output, run, step},
    setup,
};

/// What images are made of where they can be pulled.
const DEBIAN: &str = "debian:bookworm-slim";
/// What takes its place elsewhere.
const STAND_IN: &str = "wasmbed-test-debian:local";
/// What has /out, as `cargo xtask dist` makes it.
const BUILT: &str = "wasmbed-test-built:local";
/// What is built from them, with [`VERSION`].
const IMAGES: [&str; 4] =
    ["wasmbed:test", "wasmbed-host:test", "wasmbed-mosquitto:test", "wasmbed-prometheus:test"];
/// The version of images for tests.
pub(super) const VERSION: &str = "test";
const RELEASE: &str = "bookworm";
/// How long a daemon may take to answer.
const START: Duration = Duration::from_secs(60);

/// A daemon that answers; ended with this if it was started for it.
pub(super) struct Docker {
    docker: PathBuf,
    /// Whether Compose is a part of it, and not a program of its own.
    is_plugin: bool,
    /// Where the daemon listens, if it is ours.
    daemon: Option<Daemon>,
}

/// Images that the compose file is told to build from.
pub(super) struct Built {
    pub(super) debian: String,
    /// Nothing if the build is to happen in a container.
    pub(super) out: Option<String>,
}

struct Daemon {
    child: Child,
    dir: PathBuf,
}

impl Docker {
    /// Finds the programs and a daemon, or starts one.
    ///
    /// # Errors
    /// If there is none and this user may not start one.
    pub(super) fn ready() -> Result<Self> {
        setup::ensure(setup::Need::DOCKER)?;
        let mut found = Docker { docker: with_buildkit()?, is_plugin: false, daemon: None };
        found.is_plugin = succeeds(found.command().args(["compose", "version"]));
        if !found.is_plugin {
            setup::ensure(setup::Need::COMPOSE)?;
        }
        if !succeeds(found.command().args(["version"])) {
            found.daemon = Some(Daemon::start()?);
            wait_for("the Docker daemon", START, || Ok(succeeds(found.command().args(["version"]))))?;
        }
        Ok(found)
    }

    /// A command for Docker.
    pub(super) fn command(&self) -> Command {
        self.set_up(Command::new(&self.docker))
    }

    /// A command for Compose.
    pub(super) fn compose(&self) -> Command {
        let mut command =
            Command::new(if self.is_plugin { &self.docker } else { Path::new("docker-compose") });
        command.args(self.is_plugin.then_some("compose"));
        // Compose starts Docker by its name.
        let own = self.docker.parent().map(Path::to_path_buf).into_iter();
        let others = std::env::var_os("PATH").unwrap_or_default();
        if let Ok(path) = std::env::join_paths(own.chain(std::env::split_paths(&others))) {
            command.env("PATH", path);
        }
        self.set_up(command)
    }

    fn set_up(&self, mut command: Command) -> Command {
        command.env("DOCKER_BUILDKIT", "1").env("COMPOSE_DOCKER_CLI_BUILD", "1").current_dir(paths::root());
        if let Some(daemon) = &self.daemon {
            command.env("DOCKER_HOST", daemon.address());
        }
        command
    }

    /// Makes what images are built from, where that does not come from a registry.
    pub(super) fn prepare(&self) -> Result<Built> {
        let has = succeeds(self.command().args(["image", "inspect", DEBIAN]))
            || succeeds(self.command().args(["pull", "--quiet", DEBIAN]));
        let debian = match has {
            true => DEBIAN.to_owned(),
            false => {
                self.import_debian()?;
                STAND_IN.to_owned()
            }
        };
        // What is built here runs there only if both are the same system.
        let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let out = match system.contains(&format!("VERSION_CODENAME={RELEASE}\n")) {
            true => {
                self.import_built()?;
                Some(BUILT.to_owned())
            }
            false => None,
        };
        Ok(Built { debian, out })
    }

    fn import_debian(&self) -> Result<()> {
        step(&format!("{DEBIAN} cannot be had; making one with debootstrap"));
        setup::ensure(setup::Need::DEBOOTSTRAP)?;
        let dir = paths::target().join("compose/debian");
        remove(&dir)?;
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", RELEASE]).arg(&dir).stdout(Stdio::null());
        run(&mut debootstrap)?;
        self.import(&dir, ".", STAND_IN)?;
        remove(&dir)
    }

    fn import_built(&self) -> Result<()> {
        modules::build()?;
        firmware::build_all()?;
        let dir = paths::target().join("compose/built");
        remove(&dir)?;
        dist::collect(&dir.join("out"))?;
        self.import(&dir, "out", BUILT)?;
        remove(&dir)
    }

    fn import(&self, dir: &Path, what: &str, name: &str) -> Result<()> {
        let mut tar =
            Command::new("tar").arg("-C").arg(dir).args(["-c", what]).stdout(Stdio::piped()).spawn()?;
        let packed = tar.stdout.take().context("tar has no output")?;
        let imported =
            self.command().args(["import", "-", name]).stdin(packed).stdout(Stdio::null()).status()?;
        if !tar.wait()?.success() || !imported.success() {
            bail!("cannot import {} as {name}", dir.display());
        }
        Ok(())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if self.daemon.is_none() {
            // Those that are not there need not go.
            let _ = self.command().args(["image", "rm", STAND_IN, BUILT]).args(IMAGES).output();
        }
    }
}

impl Daemon {
    fn start() -> Result<Self> {
        if output(Command::new("id").arg("-u"))?.trim() != "0" {
            bail!(
                "no Docker daemon answers, and only root may start one: start it, or let this user talk to it"
            );
        }
        // Sockets have short paths.
        let dir = std::env::temp_dir().join(format!("wasmbed-docker-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let log_path = dir.join("log");
        let log = File::create(&log_path).with_context(|| log_path.display().to_string())?;
        let mut daemon = Command::new("dockerd");
        for (option, file) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            daemon.arg(option).arg(dir.join(file));
        }
        daemon.args(["--host", &format!("unix://{}", dir.join("sock").display())]);
        step(&format!("starting a Docker daemon in {}", dir.display()));
        let child = daemon.stdout(log.try_clone()?).stderr(log).spawn().context("cannot start dockerd")?;
        Ok(Daemon { child, dir })
    }

    fn address(&self) -> String {
        format!("unix://{}", self.dir.join("sock").display())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        // In order, so that it ends its containers and unmounts what it mounted.
        let told = Command::new("kill").args(["-TERM", &id]).status();
        if !told.is_ok_and(|told| told.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if let Err(error) = remove(&self.dir) {
            eprintln!("{error:#}");
        }
    }
}

/// A Docker whose builds are BuildKit's: since version 23 that is a part of its own, which may not be there.
fn with_buildkit() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<PathBuf> = std::env::split_paths(&path)
        .map(|dir| dir.join("docker"))
        .filter(|program| program.is_file())
        .collect();
    candidates.iter().find(|docker| builds(docker)).cloned().with_context(|| {
        format!(
            "no Docker here builds with BuildKit ({} were looked at); install Docker's buildx, or the Debian \
             package docker.io",
            candidates.len()
        )
    })
}

fn builds(docker: &Path) -> bool {
    let version = Command::new(docker).arg("--version").output();
    let version =
        version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let major = version.split_whitespace().find_map(|word| word.split_once('.')?.0.parse::<u32>().ok());
    major.is_some_and(|major| major < 23) || succeeds(Command::new(docker).args(["buildx", "version"]))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
