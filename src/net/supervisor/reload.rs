//! A new configuration: the supervisor reads it and binds what is new, then the workers take it.

use log::{error, info, warn};

use super::questions::Said;
use super::sockets::{self, Kept};
use super::{Kind, Supervisor};
use crate::config::Config;
use crate::net::admin::{AdminCommand, AdminListener};
use crate::net::inherited::Inherited;
use crate::net::reload::{Loaded, time_of_day};
use crate::policy::auth::json::Json;
use crate::time::Instant;

/// Configuration that was read and whose sockets are bound.
pub(super) struct Candidate {
    config: std::sync::Arc<Config>,
    bound: Vec<Kept>,
    admin: Vec<AdminListener>,
}

impl Supervisor {
    /// Reads the file again. `slot`: client that waits for the result.
    pub(super) fn begin_reload(&mut self, slot: Option<usize>, now: Instant) {
        if let Some(waiting) = &mut self.reloading {
            waiting.extend(slot);
            return;
        }
        self.reloading = Some(slot.into_iter().collect());
        self.notifier.reloading();
        if self.upgrader.is_under_way() {
            let why = "an upgrade is under way; read the file again when it has ended";
            return self.reload_failed(vec![why.to_owned()], now);
        }
        match self.candidate() {
            Ok(candidate) => {
                for (index, worker) in self.workers.iter().enumerate() {
                    let passed = sockets::offers(&candidate.bound, index);
                    if candidate.bound.is_empty() || !worker.is_ready {
                        continue;
                    }
                    if let Err(error) = passed.and_then(|offers| worker.pass(&offers)) {
                        warn!("worker {index} got no sockets: {error}");
                    }
                }
                let kind = Kind::Reload(Box::new(candidate));
                self.ask(kind, "POST /reload HTTP/1.1\r\n", now);
            }
            Err(errors) => self.reload_failed(errors, now),
        }
    }

    fn candidate(&self) -> Result<Candidate, Vec<String>> {
        let config = (self.source.read)()?;
        let config = Loaded::new(config)?.config;
        if config.workers != self.config.workers {
            warn!("\"workers\" has changed: that holds from the next start or upgrade on");
        }
        let mut none = Inherited::default();
        let explain = |error: std::io::Error| vec![error.to_string()];
        let bound = self.sockets.bind(&config, self.workers.len(), &mut none);
        let bound = bound.map_err(explain)?;
        let admin = self.front.bind(&config.admin, &mut none).map_err(explain)?;
        Ok(Candidate {
            config,
            bound,
            admin,
        })
    }

    /// Goes on with a reload: the workers have taken the configuration, or not.
    pub(super) fn workers_have_read(
        &mut self,
        candidate: Candidate,
        said: Vec<(usize, Option<Said>)>,
        now: Instant,
    ) {
        let is_good = |said: &Option<Said>| said.as_ref().is_some_and(|(status, _)| *status == 200);
        let summary = said.iter().find(|(_, said)| is_good(said));
        let summary = summary.and_then(|(_, said)| Some(member(&said.as_ref()?.1)));
        let Some(summary) = summary else {
            let mut errors = Vec::new();
            for (index, said) in &said {
                let why = said
                    .as_ref()
                    .map_or("it gave no answer", |(_, body)| body.trim());
                errors.push(format!("worker {index}: {why}"));
            }
            if errors.is_empty() {
                errors.push("no worker serves at the moment; try again".to_owned());
            }
            return self.reload_failed(errors, now);
        };
        for (index, said) in said.iter().filter(|(_, said)| !is_good(said)) {
            let why = said
                .as_ref()
                .map_or("it gave no answer", |(_, body)| body.trim());
            warn!(
                "worker {index} has not taken the configuration, and is started again with it: {why}"
            );
            if let Some(worker) = self.workers.get_mut(*index) {
                worker.kill();
            }
        }
        self.sockets.set(candidate.bound, &candidate.config);
        let registry = self.poll.registry();
        self.front
            .set(&candidate.config.admin, candidate.admin, registry);
        self.shutdown
            .set_grace(candidate.config.settings.timeouts.shutdown);
        self.counts.set_clients(candidate.config.shared_clients());
        self.config = candidate.config;
        self.read_at = self.clock.wall();
        self.errors = None;
        info!("{summary}");
        self.reload_ended(&Ok(summary), now);
    }

    fn reload_failed(&mut self, mut errors: Vec<String>, now: Instant) {
        self.errors = Some(errors.join("\n"));
        let at = time_of_day(self.read_at);
        errors.push(format!(
            "the running configuration is still the one of {at}"
        ));
        for line in &errors {
            error!("{line}");
        }
        self.reload_ended(&Err(errors.join("\n")), now);
    }

    fn reload_ended(&mut self, result: &Result<String, String>, now: Instant) {
        self.reloads = self.reloads.saturating_add(1);
        self.notifier.ready();
        let waiting = self.reloading.take().unwrap_or_default();
        self.respond_all(waiting, AdminCommand::Reload, result, now);
    }
}

/// Returns the summary of a reload, as a worker has written it.
fn member(body: &str) -> String {
    let json = Json::parse(body.as_bytes());
    let summary = json.as_ref().and_then(|json| json.get("summary"));
    let summary = summary.and_then(Json::text);
    summary.unwrap_or("configuration read").to_owned()
}
