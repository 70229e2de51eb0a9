//! Which program this process is, and how it becomes another one.
//!
//! The installed program starts an image by becoming it, with the same arguments, and tells it in the
//! environment which slot it comes from, why the device started, and which program to become again when it
//! restarts. Images and installed programs of different versions meet here: these three names and the
//! alarm that is running are all they have to agree on, besides the flash.

use std::{
    convert::Infallible,
    ffi::{CString, OsStr, OsString},
    num::NonZeroU32,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::unistd::{alarm, execve};
use wasmbed_update::ImageSlot;
use wasmbed_wire::message::ResetCause;

use crate::settings::own_arguments;

/// The slot an image comes from: `a` or `b`.
const SLOT: &str = "WASMBED_SLOT";
/// Why the device started.
const RESET: &str = "WASMBED_RESET";
/// Path of the installed program.
const INSTALLED: &str = "WASMBED_INSTALLED";

const CAUSES: [(ResetCause, &str); 4] = [
    (ResetCause::Power, "power"),
    (ResetCause::Command, "command"),
    (ResetCause::Crash, "crash"),
    (ResetCause::Watchdog, "watchdog"),
];

/// How this process came to be.
pub(crate) struct Launch {
    installed: PathBuf,
    /// What the installed program says to an image; `None` if this is the installed program.
    pub(crate) image: Option<ImageLaunch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageLaunch {
    pub(crate) slot: ImageSlot,
    pub(crate) cause: ResetCause,
}

impl Launch {
    /// Reads the environment.
    pub(crate) fn of_this_process() -> anyhow::Result<Self> {
        let Some(slot) = std::env::var_os(SLOT) else {
            let installed = std::env::current_exe().context("cannot find this program")?;
            return Ok(Launch { installed, image: None });
        };
        let known = ImageSlot::ALL.into_iter().find(|known| slot == slot_name(*known));
        let Some(slot) = known else { bail!("{SLOT} is {slot:?}; unset it, the program sets it itself") };
        let reset = std::env::var_os(RESET).unwrap_or_default();
        let cause = CAUSES.iter().find(|(_, name)| reset == *name);
        let installed = std::env::var_os(INSTALLED)
            .with_context(|| format!("{SLOT} is set without {INSTALLED}; unset it"))?;
        let cause = cause.map_or(ResetCause::Power, |(cause, _)| *cause);
        Ok(Launch { installed: installed.into(), image: Some(ImageLaunch { slot, cause }) })
    }

    /// Becomes this image. Returns only if the system does not start it.
    pub(crate) fn start_image(
        &self,
        program: &Path,
        image: ImageLaunch,
        watchdog: NonZeroU32,
    ) -> anyhow::Result<Infallible> {
        let own = [SLOT, RESET, INSTALLED];
        let cause = CAUSES.iter().find(|(cause, _)| *cause == image.cause);
        let values = [
            OsStr::new(slot_name(image.slot)),
            OsStr::new(cause.map_or("", |(_, name)| name)),
            self.installed.as_os_str(),
        ];
        let inherited = std::env::vars_os().filter(|(name, _)| own.iter().all(|own| name != own));
        let told = own.into_iter().zip(values).map(|(name, value)| (name.into(), value.to_owned()));
        let environment: Vec<CString> = inherited.chain(told).map(variable).collect::<Result<_, _>>()?;
        let arguments: Vec<CString> = [self.installed.clone().into_os_string()]
            .into_iter()
            .chain(own_arguments())
            .map(|argument| CString::new(argument.into_vec()))
            .collect::<Result<_, _>>()?;
        let program = CString::new(program.as_os_str().as_bytes())?;
        // The alarm outlives the change of program: an image that does not renew it ends.
        alarm::set(watchdog.get());
        let refused = execve(&program, &arguments, &environment);
        alarm::cancel();
        Ok(refused?)
    }

    /// Becomes a fresh installed program with the same process id and arguments: whoever watches this
    /// process sees no end, and what to run is decided anew.
    pub(crate) fn restart(&self) -> anyhow::Result<Infallible> {
        let mut command = Command::new(&self.installed);
        command.args(own_arguments()).env_remove(SLOT).env_remove(RESET).env_remove(INSTALLED);
        let error = command.exec();
        Err(error).with_context(|| format!("cannot start {} again", self.installed.display()))
    }

    /// The watchdog over this process: images have one, for there is something to fall back to.
    pub(crate) fn watchdog(&self, timeout_s: NonZeroU32) -> Watchdog {
        if self.image.is_none() {
            // The one of the image before, if it restarted.
            alarm::cancel();
        }
        Watchdog { timeout_s: self.image.map(|_| timeout_s) }
    }
}

pub(crate) fn slot_name(slot: ImageSlot) -> &'static str {
    match slot {
        ImageSlot::A => "a",
        ImageSlot::B => "b",
    }
}

fn variable((name, value): (OsString, OsString)) -> Result<CString, std::ffi::NulError> {
    let mut text = name.into_vec();
    text.push(b'=');
    text.extend(value.into_vec());
    CString::new(text)
}

/// An alarm that ends the process unless it is renewed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watchdog {
    timeout_s: Option<NonZeroU32>,
}

impl Watchdog {
    /// The process works.
    pub(crate) fn renew(self) {
        if let Some(timeout_s) = self.timeout_s {
            alarm::set(timeout_s.get());
        }
    }

    /// When to renew it again at the latest.
    pub(crate) fn renew_every(self) -> Option<Duration> {
        self.timeout_s.map(|timeout_s| Duration::from_secs(timeout_s.get().into()) / 3)
    }
}
