//! A device's certificate: the key is made here, the certificate comes from the service.

use std::path::Path;

use wasmbed_boards::Board;
use wasmbed_broker_client::Identity;
use wasmbed_wire::provision::{PrivateKey, Tls};

use super::{PrepareError, at, make_private};
use crate::{connection::Connection, host_api::DesiredDevice};

/// Keeps the certificate that is desired of the device in `dir`; without one for its key, returns the request for it.
/// Devices with a password need none.
pub(super) fn certify(device: &DesiredDevice, dir: &Path) -> Result<Option<String>, PrepareError> {
    if !device.password.is_empty() {
        return Ok(None);
    }
    make_private(dir).map_err(at(dir))?;
    let identity = Identity::load_or_make(dir)?;
    match &device.certificate {
        Some(given) if identity.fits(&given.certificate) => {
            identity.keep(&given.certificate, &given.authority)?;
            Ok(None)
        }
        _ => Ok(Some(identity.request(device.id.as_str())?)),
    }
}

/// The way to the broker under the device's own name.
pub(super) fn connection(
    connection: &Connection,
    device: &DesiredDevice,
    dir: &Path,
) -> Result<Connection, PrepareError> {
    if connection.tls.is_none() || !device.password.is_empty() {
        return Ok(connection.with_identity(device.id.as_str(), &device.password));
    }
    let files = Identity::load_or_make(dir)?.files();
    Ok(connection.with_certificate(device.id.as_str(), files)?)
}

/// What a board is provisioned with to show who it is.
pub(super) struct Shown {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: PrivateKey,
}

impl Shown {
    pub(super) fn load(board: &Board, device: &DesiredDevice, dir: &Path) -> Result<Self, PrepareError> {
        let uncertified = || PrepareError::Uncertified { board: board.name };
        let given = device.certificate.as_ref().ok_or_else(uncertified)?;
        let der = |pem: &str| {
            let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| uncertified())?;
            Ok::<_, PrepareError>(pem.contents)
        };
        let key = Identity::load_or_make(dir)?.key_scalar().ok_or_else(uncertified)?;
        Ok(Shown { ca: der(&given.authority)?, certificate: der(&given.certificate)?, key: PrivateKey(key) })
    }

    /// `broker` is what the broker's certificate calls it, whatever its address is from within the emulator.
    pub(super) fn tls<'a>(&'a self, broker: &'a str) -> Tls<'a> {
        Tls { ca: &self.ca, certificate: &self.certificate, key: self.key, name: Some(broker) }
    }
}
