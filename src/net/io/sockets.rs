//! All connections of the event loop, under the ids that the engine gave them.

use super::connection::Connection;
use super::raw_stream::RawStream;
use super::splice_pipes::Pipes;
use crate::proxy::command::{ClientId, Side};
use crate::slab::Key;

/// Connections of clients and to upstreams, and the pipes between them.
pub struct Sockets<S: RawStream> {
    clients: Connections<S>,
    upstreams: Connections<S>,
    /// Pipes for spliced bytes.
    pub pipes: Pipes<S::Pipe>,
}

impl<S: RawStream> Sockets<S> {
    /// Creates an empty table.
    pub fn new(pipes: Pipes<S::Pipe>) -> Sockets<S> {
        Sockets {
            clients: Connections::default(),
            upstreams: Connections::default(),
            pipes,
        }
    }

    /// Inserts a connection under the id that the engine gave it.
    pub fn insert(&mut self, side: Side, connection: Connection<S>) {
        match side {
            Side::Client(id) => self.clients.insert(id.index(), connection),
            Side::Upstream(id) => self.upstreams.insert(id.index(), connection),
        }
    }

    /// Returns the connection of that id, unless it is closed.
    pub fn get(&mut self, side: Side) -> Option<&mut Connection<S>> {
        match side {
            Side::Client(id) => self.clients.get(id.index(), id.generation()),
            Side::Upstream(id) => self.upstreams.get(id.index(), id.generation()),
        }
    }

    /// Closes a connection; with `abort` by a reset. Returns `false` if it was closed before.
    pub fn close(&mut self, side: Side, abort: bool) -> bool {
        let connection = match side {
            Side::Client(id) => self.clients.take(id.index(), id.generation()),
            Side::Upstream(id) => self.upstreams.take(id.index(), id.generation()),
        };
        let Some(connection) = connection else {
            return false;
        };
        if connection.has_spliced {
            self.pipes.detach(side);
        }
        connection.close(abort);
        true
    }

    /// Returns a connection, and those that its bytes may be spliced to.
    pub(crate) fn with_other_side(
        &mut self,
        side: Side,
    ) -> Option<(&mut Connection<S>, OtherSide<'_, S>)> {
        let Sockets {
            clients,
            upstreams,
            pipes,
        } = self;
        match side {
            Side::Client(id) => {
                let connection = clients.get(id.index(), id.generation())?;
                Some((
                    connection,
                    OtherSide {
                        connections: upstreams,
                        pipes,
                    },
                ))
            }
            Side::Upstream(id) => {
                let connection = upstreams.get(id.index(), id.generation())?;
                Some((
                    connection,
                    OtherSide {
                        connections: clients,
                        pipes,
                    },
                ))
            }
        }
    }

    /// Returns the connections of clients, with their ids.
    pub(in crate::net) fn clients(&self) -> impl Iterator<Item = (ClientId, &Connection<S>)> {
        let slots = self.clients.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| {
            let connection = slot.as_ref()?;
            let id = Key::from_parts(index as u32, connection.generation());
            Some((id, connection))
        })
    }

    /// Returns the connection that is in a slot now, with its id.
    pub(crate) fn occupant(
        &mut self,
        index: u32,
        upstream: bool,
    ) -> Option<(Side, &mut Connection<S>)> {
        let connections = if upstream {
            &mut self.upstreams
        } else {
            &mut self.clients
        };
        let connection = connections.slots.get_mut(index as usize)?.as_mut()?;
        let generation = connection.generation();
        let side = if upstream {
            Side::Upstream(Key::from_parts(index, generation))
        } else {
            Side::Client(Key::from_parts(index, generation))
        };
        Some((side, connection))
    }
}

/// Connections on the other side of the gateway, and the pipes to them.
pub(crate) struct OtherSide<'a, S: RawStream> {
    connections: &'a mut Connections<S>,
    pub(crate) pipes: &'a mut Pipes<S::Pipe>,
}

impl<S: RawStream> OtherSide<'_, S> {
    /// Returns the connection of that id, which must be of the other side.
    pub(crate) fn get(&mut self, side: Side) -> Option<&mut Connection<S>> {
        let (index, generation) = match side {
            Side::Client(id) => (id.index(), id.generation()),
            Side::Upstream(id) => (id.index(), id.generation()),
        };
        self.connections.get(index, generation)
    }
}

/// Connections of one side, by the slots of the engine's slab. The generation tells successive
/// owners of a slot apart.
struct Connections<S: RawStream> {
    slots: Vec<Option<Connection<S>>>,
}

impl<S: RawStream> Default for Connections<S> {
    fn default() -> Self {
        Connections { slots: Vec::new() }
    }
}

impl<S: RawStream> Connections<S> {
    fn insert(&mut self, index: u32, connection: Connection<S>) {
        let index = index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index.saturating_add(1), || None);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Some(connection);
        }
    }

    fn get(&mut self, index: u32, generation: u32) -> Option<&mut Connection<S>> {
        self.slots
            .get_mut(index as usize)?
            .as_mut()
            .filter(|connection| connection.generation() == generation)
    }

    /// Removes a connection.
    fn take(&mut self, index: u32, generation: u32) -> Option<Connection<S>> {
        self.get(index, generation)?;
        self.slots.get_mut(index as usize)?.take()
    }
}
