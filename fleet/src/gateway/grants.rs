//! Who may use what of ROS 2: what the fleet has signed, judged as devices judge it.
//!
//! A desired state is for one device, and says for each instance what it is granted. So a device that says what it
//! likes gets nothing of another, and a broker cannot give either more than the fleet does. Nor can it go back to what the
//! fleet once gave: the revisions of desired states only rise, also from one start of the gateway to the next.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use wasmbed_abi::{
    ALLOW_ROS_CALL, ALLOW_ROS_PUBLISH, ALLOW_ROS_SERVE, ALLOW_ROS_SUBSCRIBE, Capabilities, Capability,
};
use wasmbed_ros::Allowed;
use wasmbed_update::Keyring;
use wasmbed_wire::{
    DeviceId, ModuleName, PublicKey,
    keyring::Role,
    message::{Desired, DesiredModule, Refusal},
    sign1::{Audience, Sign1},
    topic::Down,
};

/// Every keyring that was accepted, signed, one after the other.
const KEYRINGS: &str = "keyrings.cbor";
/// Devices and the revisions of their last desired states that were believed.
const REVISIONS: &str = "revisions.cbor";

/// What the gateway believes.
#[derive(Debug)]
pub(super) struct Grants {
    keys: Keyring,
    /// The keyrings that lead to these keys.
    accepted: Vec<u8>,
    revisions: BTreeMap<DeviceId, u64>,
    /// Whether they are not kept yet.
    has_risen: bool,
    dir: PathBuf,
}

/// What instances of a device are granted, of those that are granted anything.
pub(super) type Granted = BTreeMap<ModuleName, Allowed>;

impl Grants {
    /// The keys of the configuration, or those that took their place since.
    pub(super) fn load(dir: &Path, trusted: &[PublicKey], now_s: u64) -> io::Result<Self> {
        let now_s = u32::try_from(now_s).unwrap_or(u32::MAX);
        let accepted = read_if_there(&dir.join(KEYRINGS))?;
        let revisions = read_revisions(&dir.join(REVISIONS))?;
        let mut keys = Keyring::provisioned(trusted.iter().copied(), now_s);
        let mut decoder = minicbor::Decoder::new(&accepted);
        // What the configuration does not lead to any more is left out.
        while let Ok(signed) = decoder.bytes() {
            keys = keys.successor(signed).unwrap_or(keys);
        }
        Ok(Grants { keys, accepted, revisions, has_risen: false, dir: dir.to_owned() })
    }

    /// Takes a signed keyring over, if it is newer; whether it was.
    pub(super) fn on_keys(&mut self, signed: &[u8]) -> bool {
        let Ok(keys) = self.keys.successor(signed) else { return false };
        let mut accepted = self.accepted.clone();
        let mut encoder = minicbor::Encoder::new(&mut accepted);
        // Vectors take everything.
        let _ = encoder.bytes(signed);
        let file = self.dir.join(KEYRINGS);
        if let Err(error) = write(&file, &accepted) {
            tracing::warn!(file = %file.display(), %error, "cannot keep the keyring; it holds until the gateway ends");
        }
        tracing::info!(version = keys.version(), "another keyring is trusted");
        (self.keys, self.accepted) = (keys, accepted);
        true
    }

    /// The revision of a device's desired state, and what its instances are granted.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(super) fn read(&self, device: &DeviceId, signed: &[u8]) -> Result<(u64, Granted), Refusal> {
        let signed = Sign1::decode(signed).map_err(|_| Refusal::Malformed)?;
        let topic = Down::Desired.to_string();
        self.keys.verify(Role::Control, Audience::Device { id: device, topic: &topic }, &signed)?;
        let desired: Desired<'_> = minicbor::decode(signed.payload).map_err(|_| Refusal::Malformed)?;
        let granted = desired.modules.iter().map(|module| (module.name, allowed(&module)));
        Ok((desired.revision, granted.filter(|(_, allowed)| *allowed != Allowed::default()).collect()))
    }

    /// Whether a desired state of this revision, which was believed, is not older than one before. That is kept with the
    /// next [`keep`](Grants::keep).
    pub(super) fn rises_to(&mut self, device: DeviceId, revision: u64) -> bool {
        let before = self.revisions.get(&device).copied();
        if before.is_some_and(|before| before > revision) {
            return false;
        }
        self.has_risen |= self.revisions.insert(device, revision) != Some(revision);
        true
    }

    /// Whether there is something to keep.
    pub(super) fn has_risen(&self) -> bool {
        self.has_risen
    }

    /// Keeps the revisions for the next start of the gateway. If that fails, there is still something to keep.
    pub(super) fn keep(&mut self) {
        if !self.has_risen {
            return;
        }
        let file = self.dir.join(REVISIONS);
        // Vectors take everything.
        let bytes = minicbor::to_vec(&self.revisions).unwrap_or_default();
        match write(&file, &bytes) {
            Ok(()) => self.has_risen = false,
            Err(error) => tracing::warn!(file = %file.display(), %error,
                "cannot keep revisions; older desired states would be believed after a restart"),
        }
    }
}

fn read_if_there(file: &Path) -> io::Result<Vec<u8>> {
    match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn read_revisions(file: &Path) -> io::Result<BTreeMap<DeviceId, u64>> {
    let bytes = read_if_there(file)?;
    if bytes.is_empty() {
        return Ok(BTreeMap::new());
    }
    minicbor::decode(&bytes).map_err(|error| {
        let what =
            format!("{} holds no revisions ({error}); without the file, those begin anew", file.display());
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

fn allowed(module: &DesiredModule<'_>) -> Allowed {
    let granted = Capabilities::from_bits(module.grants);
    let patterns = |capability, key: &str| {
        let setting = module.settings.iter().find(|setting| setting.key == key);
        let setting = setting.filter(|_| granted.contains(capability));
        setting.map_or_else(String::new, |setting| setting.value.to_owned())
    };
    Allowed {
        publish: patterns(Capability::RosPublish, ALLOW_ROS_PUBLISH),
        subscribe: patterns(Capability::RosSubscribe, ALLOW_ROS_SUBSCRIBE),
        call: patterns(Capability::RosCall, ALLOW_ROS_CALL),
        serve: patterns(Capability::RosServe, ALLOW_ROS_SERVE),
    }
}

/// Whole, or not at all.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = file.parent().unwrap_or_else(|| Path::new("."));
    let draft = tempfile::NamedTempFile::new_in(dir)?;
    fs::write(draft.path(), bytes)?;
    draft.as_file().sync_all()?;
    draft.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use wasmbed_wire::{
        ArtifactId, Seq,
        keyring::{Keyring as Keys, Roles, TrustedKey},
        message::Setting,
    };

    use super::*;
    use crate::artifacts::Signer;

    const BOTH: u32 = 1 << Capability::RosPublish as u8 | 1 << Capability::RosServe as u8;

    fn signer(seed: u8) -> Signer {
        Signer::from_seed([seed; 32])
    }

    fn device() -> DeviceId {
        "pump-7".parse().expect("a device")
    }

    fn desired(grants: u32) -> Vec<u8> {
        let settings = [
            Setting { key: ALLOW_ROS_PUBLISH, value: "/out" },
            Setting { key: ALLOW_ROS_SUBSCRIBE, value: "/*" },
            Setting { key: "allow.ros.serve", value: "/set" },
        ];
        let module = DesiredModule {
            name: "robot".parse().expect("a name"),
            artifact: ArtifactId([0; 8]),
            settings: Seq::new(&settings),
            generation: 0,
            grants,
        };
        let modules = [module];
        let desired =
            Desired { revision: 9, modules: Seq::new(&modules), heartbeat_ms: None, firmware: None };
        minicbor::to_vec(desired).expect("vectors grow")
    }

    fn keyring(version: u32, by: &Signer, keys: &[(&Signer, Role)]) -> Vec<u8> {
        let trusted = |(key, role): &(&Signer, Role)| TrustedKey {
            key: key.public(),
            roles: Roles::default().with(*role),
            not_after_s: None,
        };
        let keys: Vec<TrustedKey> = keys.iter().map(trusted).collect();
        by.sign_keyring(&Keys { version, issued_s: 1, keys: Seq::new(&keys) }).expect("short").to_vec()
    }

    #[test]
    fn what_is_signed_for_the_device_is_granted_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let own = signer(1);
        let grants = Grants::load(dir.path(), &[own.public()], 0).expect("a folder");
        let signed = own.sign_order(&device(), "dn/desired", &desired(BOTH)).expect("short");
        let (revision, granted) = grants.read(&device(), &signed).expect("it is believed");
        let robot = &granted[&"robot".parse::<ModuleName>().expect("a name")];
        assert_eq!((revision, robot.publish.as_str(), robot.serve.as_str()), (9, "/out", "/set"));
        assert_eq!(
            (robot.subscribe.as_str(), robot.call.as_str()),
            ("", ""),
            "the capability is not granted"
        );
        let nothing = own.sign_order(&device(), "dn/desired", &desired(0)).expect("short");
        assert!(grants.read(&device(), &nothing).expect("it is believed").1.is_empty());

        let other = "pump-8".parse().expect("a device");
        let wrong_topic = own.sign_order(&device(), "dn/cmd/x", &desired(BOTH)).expect("short");
        let stranger = signer(2).sign_order(&device(), "dn/desired", &desired(BOTH)).expect("short");
        for (device, signed, refusal) in [
            (other, &signed, Refusal::Forged),
            (device(), &wrong_topic, Refusal::Forged),
            (device(), &stranger, Refusal::UnknownKey),
            (device(), &desired(BOTH), Refusal::Malformed),
        ] {
            assert_eq!(grants.read(&device, signed).map(|_| ()), Err(refusal));
        }
    }

    #[test]
    fn revisions_only_rise_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let load = || Grants::load(dir.path(), &[], 0);
        let other = "pump-8".parse().expect("a device");
        let mut grants = load().expect("a folder");
        assert!(grants.rises_to(device(), 7) && grants.rises_to(device(), 9) && grants.has_risen());
        grants.keep();
        assert!(!grants.has_risen());
        for mut grants in [grants, load().expect("a folder")] {
            assert!(!grants.rises_to(device(), 8), "it is older");
            assert!(grants.rises_to(device(), 9) && !grants.has_risen(), "the same again");
            assert!(grants.rises_to(other, 1) && grants.has_risen(), "another device");
        }
        fs::write(dir.path().join(REVISIONS), "x").expect("writable");
        let error = load().expect_err("it holds something else").to_string();
        assert!(error.contains("revisions.cbor") && error.contains("begin anew"), "{error}");
    }

    #[test]
    fn keyrings_are_followed_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let (first, second, third) = (signer(1), signer(2), signer(3));
        let mut grants = Grants::load(dir.path(), &[first.public()], 0).expect("a folder");
        let signed = third.sign_order(&device(), "dn/desired", &desired(BOTH)).expect("short");
        assert_eq!(grants.read(&device(), &signed).map(|_| ()), Err(Refusal::UnknownKey));
        assert!(!grants.on_keys(&keyring(2, &second, &[(&third, Role::Control)])), "nobody trusts it");
        assert!(grants.on_keys(&keyring(1, &first, &[(&second, Role::Root)])));
        assert!(grants.on_keys(&keyring(2, &second, &[(&third, Role::Control)])));
        assert!(!grants.on_keys(&keyring(1, &first, &[(&second, Role::Root)])), "it is older");
        for grants in [grants, Grants::load(dir.path(), &[first.public()], 0).expect("a folder")] {
            assert_eq!(grants.read(&device(), &signed).map(|(revision, _)| revision), Ok(9));
        }
    }
}
