//! A device that has everything.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use wasmbed_abi::{
    BatteryStatus, Destination, Edges, Errno, FilePath, LocalPosition, MAX_KEY_BYTES, NodeInfo,
    ParameterName, RosName, Sensor, TopicInfo, Typed, VehicleCommand, VehicleParameter, VehicleStatus,
};
use wasmbed_runtime::Host;
use wasmbed_wire::{Channel, topic::Level};

/// Grants every wish whose arguments are in order.
#[derive(Debug, Default)]
pub struct Obliging {
    values: BTreeMap<String, Vec<u8>>,
    drawn: u8,
    listens_to: &'static str,
    told: Rc<RefCell<Vec<u8>>>,
}

impl Obliging {
    /// Keeps what is last published on this channel.
    pub fn telling(channel: &'static str, told: Rc<RefCell<Vec<u8>>>) -> Self {
        Obliging { listens_to: channel, told, ..Obliging::default() }
    }
}

impl Host for Obliging {
    fn log(&mut self, _: Level, _: &str) -> Result<(), Errno> {
        Ok(())
    }

    fn telemetry(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        if channel.as_str() == self.listens_to {
            payload.clone_into(&mut self.told.borrow_mut());
        }
        Ok(())
    }

    fn uptime_ms(&mut self) -> u64 {
        12_345
    }

    fn sensor_read(&mut self, _: Sensor) -> Result<i64, Errno> {
        Ok(21_500)
    }

    fn gpio_write(&mut self, _: u32, _: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn gpio_read(&mut self, _: u32) -> Result<bool, Errno> {
        Ok(true)
    }

    fn gpio_watch(&mut self, _: u32, _: Edges) -> Result<(), Errno> {
        Ok(())
    }

    fn publish(&mut self, _: Channel, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }

    fn i2c_transfer(&mut self, _: u32, _: u8, _: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        read.fill(1);
        Ok(())
    }

    fn spi_transfer(&mut self, _: u32, _: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        Ok(())
    }

    fn file_read(&mut self, _: FilePath<'_>, _: u64, out: &mut [u8]) -> Result<usize, Errno> {
        out.fill(2);
        Ok(out.len())
    }

    fn file_write(&mut self, _: FilePath<'_>, _: u64, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }

    fn file_size(&mut self, _: FilePath<'_>) -> Result<u64, Errno> {
        Ok(1 << 33)
    }

    fn file_truncate(&mut self, _: FilePath<'_>, _: u64) -> Result<(), Errno> {
        Ok(())
    }

    fn file_remove(&mut self, _: FilePath<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn file_rename(&mut self, _: FilePath<'_>, _: FilePath<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn file_list(&mut self, _: u32, out: &mut [u8]) -> Result<usize, Errno> {
        out.get_mut(..4).ok_or(Errno::NoSpace)?.copy_from_slice(b"name");
        Ok(4)
    }

    fn net_connect(&mut self, _: Destination<'_>) -> Result<u32, Errno> {
        Ok(0)
    }

    fn net_send(&mut self, _: u32, bytes: &[u8]) -> Result<usize, Errno> {
        Ok(bytes.len())
    }

    fn net_receive(&mut self, _: u32, out: &mut [u8]) -> Result<usize, Errno> {
        out.fill(3);
        Ok(out.len())
    }

    fn net_close(&mut self, _: u32) -> Result<(), Errno> {
        Ok(())
    }

    fn kv_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let value = self.values.get(key).ok_or(Errno::NotFound)?;
        out.get_mut(..value.len()).ok_or(Errno::NoSpace)?.copy_from_slice(value);
        Ok(value.len())
    }

    fn kv_set(&mut self, key: &str, value: &[u8]) -> Result<(), Errno> {
        assert!(key.len() <= MAX_KEY_BYTES, "the runtime checks keys");
        self.values.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn kv_remove(&mut self, key: &str) -> Result<(), Errno> {
        self.values.remove(key).map(drop).ok_or(Errno::NotFound)
    }

    fn secret(&mut self) -> Result<[u8; 32], Errno> {
        Ok([7; 32])
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), Errno> {
        self.drawn = self.drawn.wrapping_add(1);
        out.fill(self.drawn);
        Ok(())
    }

    fn send_vehicle_command(&mut self, _: VehicleCommand) -> Result<u32, Errno> {
        Ok(0)
    }

    fn takeoff(&mut self, _: u8, altitude: f32) -> Result<u32, Errno> {
        assert!(altitude > 0.0, "the runtime checks altitudes");
        Ok(0)
    }

    fn vehicle_command_result(&mut self, _: u32) -> Result<u8, Errno> {
        Ok(0)
    }

    fn vehicle_status(&mut self, vehicle: u8) -> Result<VehicleStatus, Errno> {
        Ok(VehicleStatus { vehicle, ..VehicleStatus::default() })
    }

    fn battery_status(&mut self, _: u8) -> Result<BatteryStatus, Errno> {
        Ok(BatteryStatus::default())
    }

    fn local_position(&mut self, _: u8) -> Result<LocalPosition, Errno> {
        Ok(LocalPosition::default())
    }

    fn vehicle_parameter(&mut self, _: u8, _: ParameterName) -> Result<VehicleParameter, Errno> {
        Ok(VehicleParameter::default())
    }

    fn publish_message(&mut self, _: RosName<'_>, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }

    fn subscribe_topic(&mut self, _: RosName<'_>) -> Result<(), Errno> {
        Ok(())
    }

    fn create_service_client(&mut self, _: RosName<'_>) -> Result<u32, Errno> {
        Ok(0)
    }

    fn call_service(&mut self, _: u32, _: &[u8]) -> Result<u32, Errno> {
        Ok(0)
    }

    fn service_response(&mut self, _: u32, out: &mut [u8]) -> Result<usize, Errno> {
        out.fill(4);
        Ok(out.len())
    }

    fn create_service(&mut self, _: RosName<'_>) -> Result<u32, Errno> {
        Ok(0)
    }

    fn send_response(&mut self, _: u32, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }

    fn available_topic(&mut self, _: u32, out: &mut [u8]) -> Result<usize, Errno> {
        TopicInfo::default().write(Typed { name: "/a", ty: "std_msgs/msg/Bool" }, out)
    }

    fn node_info(&mut self, _: RosName<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        NodeInfo::write([&[Typed { name: "/a", ty: "std_msgs/msg/Bool" }], &[], &[], &[]], out)
    }

    fn config_get(&mut self, _: &str, out: &mut [u8]) -> Result<usize, Errno> {
        out.get_mut(..3).ok_or(Errno::NoSpace)?.copy_from_slice(b"yes");
        Ok(3)
    }
}
