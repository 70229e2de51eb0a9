//! The example modules written by hand do what they say.

use std::path::Path;

use wasmbed_runtime::{Instance, Stopped, TrapCode};
use wasmbed_wire::limits::Class;

use crate::world::{Device, World, on_both};

fn example(world: &World, name: &str) -> Instance<Device> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/examples").join(name);
    let text =
        std::fs::read_to_string(folder.join(name).with_extension("wat")).expect("the example is there");
    let mut instance = world.run(&text);
    assert_eq!(instance.init(), Ok(0));
    instance
}

#[test]
fn blink_switches_its_pin_in_every_tick() {
    on_both(Class::Mcu, |world| {
        let mut blink = example(&world, "blink");
        assert_eq!(blink.interval_ms(), 250);
        for level in [true, false, true] {
            assert_eq!(blink.tick(), Ok(()));
            assert_eq!(world.device.seen().pins.get(&13), Some(&level));
        }
    });
}

#[test]
fn spin_is_stopped_in_its_first_tick() {
    on_both(Class::Mcu, |world| {
        assert_eq!(example(&world, "spin").tick(), Err(Stopped::TimedOut { limit_ms: 100 }));
    });
}

#[test]
fn crash_traps_in_its_third_tick() {
    on_both(Class::Mcu, |world| {
        let mut crash = example(&world, "crash");
        assert_eq!(crash.tick(), Ok(()));
        assert_eq!(crash.tick(), Ok(()));
        assert_eq!(crash.tick(), Err(Stopped::Trap(TrapCode::UNREACHABLE)));
    });
}
