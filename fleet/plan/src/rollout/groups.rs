//! Which device is in which group.

use std::collections::BTreeMap;

use wasmbed_wire::DeviceId;

use super::Step;

/// The group of each device. It depends on the ids and the seed only, so devices do not have to be given in
/// any order, and another rollout, with another seed, has other canaries.
pub(super) fn assign(
    steps: &[Step],
    seed: u64,
    devices: impl IntoIterator<Item = DeviceId>,
) -> BTreeMap<DeviceId, usize> {
    let mut order: Vec<(u64, DeviceId)> = devices.into_iter().map(|id| (mix(seed, &id), id)).collect();
    order.sort_unstable();
    order.dedup();
    let total = order.len();
    let mut ends = steps.iter().map(|step| match *step {
        Step::Canary(count) => usize::try_from(count).unwrap_or(usize::MAX).min(total),
        Step::Percent(percent) => total.saturating_mul(usize::from(percent)).div_ceil(100).min(total),
        Step::Rest => total,
    });
    let (mut group, mut end) = (0, ends.next().unwrap_or(total));
    let mut groups = BTreeMap::new();
    for (place, (_, id)) in order.into_iter().enumerate() {
        while place >= end
            && let Some(next) = ends.next()
        {
            (group, end) = (group + 1, next);
        }
        groups.insert(id, group);
    }
    groups
}

/// FNV-1a over seed and name, its bits spread by the finalizer of MurmurHash3.
fn mix(seed: u64, id: &DeviceId) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(id.as_str().bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where its names are wrong")]
mod tests {
    use super::*;

    fn sizes(steps: &[Step], count: usize) -> Vec<usize> {
        let groups = assign(steps, 7, ids(count));
        assert_eq!(groups.len(), count);
        (0..steps.len()).map(|group| groups.values().filter(|of| **of == group).count()).collect()
    }

    fn ids(count: usize) -> Vec<DeviceId> {
        (0..count).map(|number| format!("d{number}").parse().unwrap()).collect()
    }

    #[test]
    fn groups_fill_up_to_their_share_of_all() {
        let steps = [Step::Canary(2), Step::Percent(10), Step::Percent(50), Step::Rest];
        assert_eq!(sizes(&steps, 100), [2, 8, 40, 50]);
        assert_eq!(sizes(&steps, 11), [2, 0, 4, 5]);
        assert_eq!(sizes(&steps, 1), [1, 0, 0, 0]);
        assert_eq!(sizes(&steps, 0), [0, 0, 0, 0]);
    }

    #[test]
    fn the_order_devices_are_given_in_changes_nothing_and_the_seed_does() {
        let steps = [Step::Canary(5), Step::Rest];
        let mut turned = ids(50);
        turned.reverse();
        assert_eq!(assign(&steps, 1, ids(50)), assign(&steps, 1, turned));
        assert_ne!(assign(&steps, 1, ids(50)), assign(&steps, 2, ids(50)));
    }
}
