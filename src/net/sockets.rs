//! All sockets of the loop, under the names that the engine has for them.

use super::connection::{Connection, Wire};
use crate::proxy::command::Side;
use crate::slab::Key;

/// The connections of the loop, clients' and upstreams'.
pub struct Sockets<S> {
    clients: Connections<S>,
    upstreams: Connections<S>,
}

impl<S> Default for Sockets<S> {
    fn default() -> Self {
        Sockets { clients: Connections::default(), upstreams: Connections::default() }
    }
}

impl<S: Wire> Sockets<S> {
    /// Puts a connection where the engine has its own part of it.
    pub fn put(&mut self, side: Side, connection: Connection<S>) {
        match side {
            Side::Down(id) => self.clients.put(id.index(), connection),
            Side::Up(id) => self.upstreams.put(id.index(), connection),
        }
    }

    /// The connection of that name, if its slot has no other owner by now.
    pub fn get(&mut self, side: Side) -> Option<&mut Connection<S>> {
        match side {
            Side::Down(id) => self.clients.get(id.index(), id.generation()),
            Side::Up(id) => self.upstreams.get(id.index(), id.generation()),
        }
    }

    /// Takes it out.
    pub fn take(&mut self, side: Side) -> Option<Connection<S>> {
        match side {
            Side::Down(id) => self.clients.take(id.index(), id.generation()),
            Side::Up(id) => self.upstreams.take(id.index(), id.generation()),
        }
    }

    /// Whoever is in a slot now.
    pub(super) fn owner(&self, index: u32, upstream: bool) -> Option<Side> {
        if upstream {
            self.upstreams.generation(index).map(|generation| Side::Up(Key::from_parts(index, generation)))
        } else {
            self.clients.generation(index).map(|generation| Side::Down(Key::from_parts(index, generation)))
        }
    }
}

/// Connections under the slots of the engine's slab; the generation tells a slot's owners apart.
struct Connections<S> {
    slots: Vec<Option<Connection<S>>>,
}

impl<S> Default for Connections<S> {
    fn default() -> Self {
        Connections { slots: Vec::new() }
    }
}

impl<S: Wire> Connections<S> {
    /// Puts a connection into the slot that the engine gave it.
    fn put(&mut self, index: u32, connection: Connection<S>) {
        let index = index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index.saturating_add(1), || None);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(connection);
        }
    }

    fn get(&mut self, index: u32, generation: u32) -> Option<&mut Connection<S>> {
        self.slots.get_mut(index as usize)?.as_mut().filter(|connection| connection.generation() == generation)
    }

    /// Takes it out.
    fn take(&mut self, index: u32, generation: u32) -> Option<Connection<S>> {
        self.get(index, generation)?;
        self.slots.get_mut(index as usize)?.take()
    }

    /// The generation of the connection in a slot.
    fn generation(&self, index: u32) -> Option<u32> {
        self.slots.get(index as usize)?.as_ref().map(|connection| connection.generation())
    }
}
