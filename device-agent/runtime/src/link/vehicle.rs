//! Calls about vehicles.

use wasmbed_abi::{
    BatteryStatus, Call, Errno, LocalPosition, MAX_PARAMETER_NAME_BYTES, ParameterName, VehicleCommand,
    VehicleParameter, VehicleStatus,
};
use wasmtime::Caller;

use super::{Args, memory, number, room, short};
use crate::{Host, instance::Guest};

pub(super) fn answer<H: Host>(
    call: Call,
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    match call {
        Call::SendVehicleCommand => {
            let command = given(caller, args)?;
            send(caller, command)
        }
        Call::ArmVehicle => send(caller, VehicleCommand::arm(vehicle(args)?, true)),
        Call::DisarmVehicle => send(caller, VehicleCommand::arm(vehicle(args)?, false)),
        Call::Land => send(caller, VehicleCommand::land(vehicle(args)?)),
        Call::Takeoff => takeoff(caller, args),
        Call::VehicleCommandResult => {
            let ticket = number(args)?;
            caller.data_mut().host.vehicle_command_result(ticket).map(i32::from)
        }
        Call::GetVehicleStatus => {
            let vehicle = vehicle(args)?;
            let status: VehicleStatus = caller.data_mut().host.vehicle_status(vehicle)?;
            write(caller, args, &status.encode())
        }
        Call::GetBatteryStatus => {
            let vehicle = vehicle(args)?;
            let status: BatteryStatus = caller.data_mut().host.battery_status(vehicle)?;
            write(caller, args, &status.encode())
        }
        Call::GetVehicleLocalPosition => {
            let vehicle = vehicle(args)?;
            let position: LocalPosition = caller.data_mut().host.local_position(vehicle)?;
            write(caller, args, &position.encode())
        }
        Call::GetVehicleParameter => parameter(caller, args),
        _ => Err(Errno::Unsupported),
    }
}

fn parameter<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let vehicle = vehicle(args)?;
    let name = {
        let (memory, _) = memory(caller)?;
        ParameterName::new(&short(&memory, args, MAX_PARAMETER_NAME_BYTES)?).ok_or(Errno::Invalid)?
    };
    let (mut memory, guest) = memory(caller)?;
    // Before it is asked for: an answer that has no room would be lost.
    let out = room(&memory, args, VehicleParameter::BYTES)?;
    if out.len() < VehicleParameter::BYTES {
        return Err(Errno::NoSpace);
    }
    let parameter = guest.host.vehicle_parameter(vehicle, name)?;
    memory.write(out, &parameter.encode())?;
    i32::try_from(VehicleParameter::BYTES).map_err(|_| Errno::NoSpace)
}

fn given<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<VehicleCommand, Errno> {
    let (memory, _) = memory(caller)?;
    let command = short(&memory, args, VehicleCommand::BYTES)?;
    let command = (&*command).try_into().map_err(|_| Errno::Invalid)?;
    Ok(VehicleCommand::decode(command))
}

fn send<H: Host>(caller: &mut Caller<'_, Guest<H>>, command: VehicleCommand) -> Result<i32, Errno> {
    let ticket = caller.data_mut().host.send_vehicle_command(command)?;
    i32::try_from(ticket).map_err(|_| Errno::NoSpace)
}

fn takeoff<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (vehicle, altitude) = (vehicle(args)?, args.f32());
    if !(altitude > 0.0 && altitude.is_finite()) {
        return Err(Errno::Invalid);
    }
    let ticket = caller.data_mut().host.takeoff(vehicle, altitude)?;
    i32::try_from(ticket).map_err(|_| Errno::NoSpace)
}

fn write<H: Host>(
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
    structure: &[u8],
) -> Result<i32, Errno> {
    let (mut memory, _) = memory(caller)?;
    let out = room(&memory, args, structure.len())?;
    if out.len() < structure.len() {
        return Err(Errno::NoSpace);
    }
    memory.write(out, structure)?;
    i32::try_from(structure.len()).map_err(|_| Errno::NoSpace)
}

fn vehicle(args: &mut Args<'_>) -> Result<u8, Errno> {
    u8::try_from(args.i32()).map_err(|_| Errno::Invalid)
}
