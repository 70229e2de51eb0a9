//! What is wanted and what is where, side by side.

use wasmbed_wire::{
    ArtifactId,
    message::{Desired, DesiredModule, ModuleReport, ModuleState, ModuleUse, Reason},
};

use crate::{
    Slot,
    module::{Held, Identity, Life, Place, Run, Wanted},
};

/// Modules beyond the last slot that are reported.
const OVERFLOW: usize = 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tables<const SLOTS: usize, const SETTINGS: usize> {
    pub(crate) wanted: [Option<Wanted<SETTINGS>>; SLOTS],
    /// Wanted, but without a slot.
    pub(crate) overflow: [Option<Identity>; OVERFLOW],
    pub(crate) places: [Place<SETTINGS>; SLOTS],
}

impl<const SLOTS: usize, const SETTINGS: usize> Tables<SLOTS, SETTINGS> {
    pub(crate) const fn new() -> Self {
        Tables {
            wanted: [const { None }; SLOTS],
            overflow: [const { None }; OVERFLOW],
            places: [const { Place::Empty }; SLOTS],
        }
    }

    /// Wants exactly these modules. What did not change keeps its history.
    pub(crate) fn adopt(&mut self, desired: &Desired<'_>) {
        for place in &mut self.wanted {
            let gone =
                |wanted: &Wanted<SETTINGS>| !desired.modules.iter().any(|m| m.name == wanted.identity.name);
            if place.as_ref().is_some_and(gone) {
                *place = None;
            }
        }
        self.overflow = [None; OVERFLOW];
        for module in desired.modules.iter() {
            self.want(&module);
        }
        self.share_out();
    }

    fn want(&mut self, module: &DesiredModule<'_>) {
        let mut new = Wanted::new(module);
        let identity = new.identity;
        if new.life == Life::Fetching && self.slot_of(identity).is_some() {
            new.life = Life::Ready;
        }
        let known =
            self.wanted.iter().position(|w| w.as_ref().is_some_and(|w| w.identity.name == module.name));
        let free = || self.wanted.iter().position(Option::is_none);
        match known.or_else(free).and_then(|at| self.wanted.get_mut(at)) {
            Some(Some(old)) if old.same_as(&new) => {}
            Some(place) => *place = Some(new),
            None => {
                if let Some(place) = self.overflow.iter_mut().find(|place| place.is_none()) {
                    *place = Some(identity);
                }
            }
        }
    }

    /// Gives artifacts that lie idle, for whichever instance they came, to instances that would fetch them.
    fn share_out(&mut self) {
        for nth in 0..SLOTS {
            let Some(Some(wanted)) = self.wanted.get(nth) else { continue };
            let identity = wanted.identity;
            if wanted.life != Life::Fetching {
                continue;
            }
            let Some(spare) = self.slots().find(|slot| self.is_spare(*slot, identity.artifact)) else {
                continue;
            };
            if let Some(held) = self.held_mut(spare) {
                held.instance = identity.name;
            }
            if let Some(Some(wanted)) = self.wanted.get_mut(nth) {
                wanted.life = Life::Ready;
            }
        }
    }

    fn is_spare(&self, slot: Slot, artifact: ArtifactId) -> bool {
        let idle = |held: &Held<SETTINGS>| held.run == Run::Idle && held.module.artifact == artifact;
        self.held(slot).is_some_and(idle) && self.wanted_in(slot).is_none()
    }

    /// Which wanted instance this slot is for.
    pub(crate) fn wanted_in(&self, slot: Slot) -> Option<&Wanted<SETTINGS>> {
        let identity = self.held(slot)?.identity();
        // Two slots may hold the same after a restart; the first is the one that counts.
        self.find_wanted(identity).filter(|_| self.slot_of(identity) == Some(slot))
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<SLOTS, SETTINGS> {
        (0..=u8::MAX).take(SLOTS).map(Slot)
    }

    pub(crate) fn held(&self, slot: Slot) -> Option<&Held<SETTINGS>> {
        self.places.get(slot.index()).and_then(Place::held)
    }

    pub(crate) fn held_mut(&mut self, slot: Slot) -> Option<&mut Held<SETTINGS>> {
        self.places.get_mut(slot.index()).and_then(Place::held_mut)
    }

    pub(crate) fn put(&mut self, slot: Slot, content: Place<SETTINGS>) {
        if let Some(place) = self.places.get_mut(slot.index()) {
            *place = content;
        }
    }

    pub(crate) fn empty_slot(&self) -> Option<Slot> {
        self.slots().find(|slot| self.places.get(slot.index()) == Some(&Place::Empty))
    }

    pub(crate) fn slot_of(&self, identity: Identity) -> Option<Slot> {
        self.slots().find(|slot| self.held(*slot).is_some_and(|held| held.identity() == identity))
    }

    pub(crate) fn run_of(&self, identity: Identity) -> Option<Run> {
        self.slot_of(identity).and_then(|slot| self.held(slot)).map(|held| held.run)
    }

    pub(crate) fn find_wanted(&self, identity: Identity) -> Option<&Wanted<SETTINGS>> {
        self.wanted.iter().flatten().find(|wanted| wanted.identity == identity)
    }

    pub(crate) fn find_wanted_mut(&mut self, identity: Identity) -> Option<&mut Wanted<SETTINGS>> {
        self.wanted.iter_mut().flatten().find(|wanted| wanted.identity == identity)
    }

    /// Whether the module held here is the one that runs until its successor has arrived.
    pub(crate) fn is_predecessor(&self, held: &Held<SETTINGS>) -> bool {
        let mut wanted = self.wanted.iter().flatten();
        wanted.any(|w| w.identity.name == held.instance && self.slot_of(w.identity).is_none())
    }

    /// Whether another version of this instance is still there.
    pub(crate) fn has_other_version(&self, identity: Identity) -> bool {
        let mut held = self.places.iter().filter_map(Place::held);
        held.any(|held| held.instance == identity.name && held.module.artifact != identity.artifact)
    }

    /// Calls `read` with a report of every module: first what is wanted, then what still runs until its
    /// successor has arrived. `fetched` is the transfer that is going on, in percent.
    pub(crate) fn with_reports<R>(
        &self,
        fetched: Option<(Identity, u8)>,
        read: impl FnOnce(&[ModuleReport]) -> R,
    ) -> R {
        let wanted = self.wanted.iter().flatten().map(|wanted| self.report(wanted, fetched));
        let overflow = self.overflow.iter().flatten().map(|identity| ModuleReport {
            name: identity.name,
            artifact: identity.artifact,
            state: ModuleState::Refused,
            progress: 0,
            restarts: 0,
            reason: Some(Reason::NoSlot),
        });
        let held = self.places.iter().filter_map(Place::held);
        let mut reports = wanted.chain(overflow).chain(held.filter_map(|held| self.report_predecessor(held)));
        let Some(first) = reports.next() else { return read(&[]) };
        // Room for each slot's module, its predecessor, and those without a slot.
        let (mut list, mut least) = ([[first; 2 + OVERFLOW]; SLOTS], [first; OVERFLOW]);
        let list = if SLOTS == 0 { &mut least[..] } else { list.as_flattened_mut() };
        let mut len = 1;
        for (place, report) in list.iter_mut().skip(1).zip(reports) {
            *place = report;
            len += 1;
        }
        read(list.get(..len).unwrap_or_default())
    }

    /// Calls `read` with what each instance used that was ever called.
    pub(crate) fn with_uses<R>(&self, read: impl FnOnce(&[ModuleUse]) -> R) -> R {
        let mut uses = self.places.iter().filter_map(|place| place.held()?.used());
        let Some(first) = uses.next() else { return read(&[]) };
        let mut list = [first; SLOTS];
        let mut len = 1;
        for (place, used) in list.iter_mut().skip(1).zip(uses) {
            *place = used;
            len += 1;
        }
        read(list.get(..len).unwrap_or_default())
    }

    fn report(&self, wanted: &Wanted<SETTINGS>, fetched: Option<(Identity, u8)>) -> ModuleReport {
        let run = self.run_of(wanted.identity);
        let fetched = fetched.filter(|(identity, _)| *identity == wanted.identity);
        ModuleReport {
            name: wanted.identity.name,
            artifact: wanted.identity.artifact,
            state: wanted.state(run),
            progress: if run.is_some() { 100 } else { fetched.map_or(0, |(_, percent)| percent) },
            restarts: wanted.restarts,
            reason: wanted.reason,
        }
    }

    fn report_predecessor(&self, held: &Held<SETTINGS>) -> Option<ModuleReport> {
        let runs = held.is_running();
        let wanted = self.find_wanted(held.identity()).is_some();
        (runs && !wanted).then_some(ModuleReport {
            name: held.instance,
            artifact: held.module.artifact,
            state: ModuleState::Running,
            progress: 100,
            restarts: 0,
            reason: None,
        })
    }
}
