//! Answers of several workers as one.

use super::Supervisor;
use super::metrics::Merged;
use super::questions::Said;
use super::state::{self, Own};
use crate::net::admin::{POLICY, Part, Response};
use crate::observe::metrics::exposition::Format;

impl Supervisor {
    /// Returns the answer to a client of the admin listener.
    pub(super) fn joined(&mut self, part: Part, said: Vec<(usize, Option<Said>)>) -> Response {
        let silent = said.iter().filter(|(_, said)| said.is_none());
        let silent = silent.filter_map(|(worker, _)| self.workers.get(*worker)?.pid());
        let silent = silent.collect();
        let said = said.into_iter();
        let said = said.filter_map(|(worker, said)| Some((worker, said?)));
        let said = said.collect::<Vec<_>>();
        let Some((_, (status, body))) = said.first() else {
            return Response::text(503, "no worker serves at the moment\n");
        };
        let good = || said.iter().find(|(_, (status, _))| *status == 200);
        match part {
            Part::Metrics(format) if good().is_some() => self.scraped(format, said),
            Part::State if good().is_some() => {
                let bodies = said.iter().filter(|(_, (status, _))| *status == 200);
                let bodies = bodies.map(|(worker, (_, body))| (*worker, body.as_str()));
                let own = Own {
                    pid: std::process::id(),
                    reloads: self.reloads,
                    error: self.errors.as_deref(),
                    ended: self
                        .workers
                        .iter()
                        .map(|worker| worker.restarts.ended)
                        .collect(),
                    silent,
                };
                let mut response = Response::text(200, state::join(bodies.collect(), &own));
                response.kind = "application/json";
                response
            }
            Part::Page if *status == 200 => {
                let mut response = Response::text(200, body.as_str());
                response.kind = "text/html; charset=utf-8";
                response.policy = Some(POLICY);
                response
            }
            Part::Log(..) => {
                let bad = said.iter().find(|(_, (status, _))| *status != 200);
                let (_, (status, body)) = bad
                    .or(said.first())
                    .unwrap_or(&(0, (0, String::new())))
                    .clone();
                let mut response = Response::text(status, body);
                response.kind = "application/json";
                response
            }
            _ => {
                let chosen = good().map_or((status, body), |(_, (status, body))| (status, body));
                Response::text(*chosen.0, chosen.1.as_str())
            }
        }
    }

    fn scraped(&mut self, format: Format, said: Vec<(usize, Said)>) -> Response {
        let is_open = format == Format::OpenMetrics;
        for (index, (status, body)) in said {
            if let Some(worker) = self.workers.get_mut(index).filter(|_| status == 200) {
                worker.scrape = body;
            }
        }
        let mut merged = Merged::default();
        // A worker that did not answer counts as it was: no counter goes down.
        let scrapes = self.workers.iter().map(|worker| worker.scrape.as_str());
        scrapes.for_each(|scrape| merged.add(scrape));
        let mut response = Response::text(200, merged.write(&self.ended, is_open));
        response.kind = format.media_type();
        response
    }
}
