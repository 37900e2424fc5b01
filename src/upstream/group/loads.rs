//! Facts of a member that follow from its role, its requests in flight and its identity.

use super::Group;
use super::member::Member;

impl<E> Member<E> {
    fn weight_at(&self, load: u32) -> u32 {
        let is_full = load >= self.role.max_in_flight;
        if is_full { 0 } else { self.role.weight }
    }
}

impl<E: Copy + PartialEq> Group<E> {
    /// Gives a name to each member that has none. `name` makes it of the member's identity.
    pub fn set_names(&mut self, name: &dyn Fn(u64) -> u64) {
        for (index, member) in self.members.iter_mut().enumerate() {
            if member.sticky_name == 0 {
                member.sticky_name = name(self.balancer.identity(index));
            }
        }
    }

    /// Takes the names of all members away: the key or an identity has changed.
    pub(super) fn forget_names(&mut self) {
        for member in &mut self.members {
            member.sticky_name = 0;
        }
    }

    /// Gives each member the weight that follows from its role and its requests in flight.
    pub(super) fn renew_weights(&mut self) {
        for index in 0..self.members.len() {
            self.renew_weight(index);
        }
    }

    #[cold]
    pub(super) fn renew_weight(&mut self, index: usize) {
        let load = self.balancer.load(index);
        if let Some(member) = self.members.get_mut(index) {
            member.weight = member.weight_at(load);
        }
    }

    /// Returns true if exactly the members that are full take no request.
    pub fn weights_hold(&self) -> bool {
        let mut members = self.members.iter().zip(self.loads());
        members.all(|(member, load)| member.weight == member.weight_at(load))
    }

    /// Forgets the requests in flight. The caller counts them again.
    pub fn clear_loads(&mut self) {
        self.balancer.clear_loads();
        self.renew_weights();
    }
}
