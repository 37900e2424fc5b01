//! A new configuration: the supervisor reads it and binds what is new, then the workers take it.

use std::os::fd::OwnedFd;

use log::{error, info, warn};

use super::questions::Said;
use super::sockets::Kept;
use super::worker::Worker;
use super::{Kind, Supervisor};
use crate::config::Config;
use crate::config::changes::of_supervisor;
use crate::net::admin::{AdminCommand, AdminListener};
use crate::net::config_files::ConfigFiles;
use crate::net::inherited::Inherited;
use crate::net::link::FILES;
use crate::net::reload::{Loaded, look_every, time_of_day};
use crate::net::shutdown::STOPS;
use crate::net::upgrade::handover::Offer;
use crate::policy::auth::json::Json;
use crate::time::{Instant, UnixTime};

const RELOAD: &str = "POST /reload HTTP/1.1\r\n";

/// Configuration that was read and whose sockets are bound.
pub(super) struct Candidate {
    files: OwnedFd,
    config: std::sync::Arc<Config>,
    read_at: UnixTime,
    bound: Vec<Kept>,
    admin: Vec<AdminListener>,
    /// Processes of the workers when they were asked.
    asked: Vec<Option<u32>>,
}

impl Supervisor {
    /// Reads the file again. `slot`: client that waits for the result.
    pub(super) fn begin_reload(&mut self, slot: Option<usize>, now: Instant) {
        self.begin_reload_of(Ok(ConfigFiles::on_disk()), slot, now);
    }

    fn begin_reload_of(
        &mut self,
        files: std::io::Result<ConfigFiles>,
        slot: Option<usize>,
        now: Instant,
    ) {
        if self.reloading.is_some() {
            // The file may have changed since it was read.
            self.reloads_again = true;
            return;
        }
        self.reloading = Some(slot);
        self.notifier.reloading();
        if self.shutdown.is_stopping() {
            return self.reload_failed(vec![STOPS.to_owned()], now);
        }
        if self.upgrader.is_under_way() {
            let why = "an upgrade is under way; read the file again when it has ended";
            return self.reload_failed(vec![why.to_owned()], now);
        }
        match self.candidate(files) {
            Ok(candidate) => {
                self.pass(&candidate.bound, &candidate.files);
                let kind = Kind::Reload(Box::new(candidate));
                self.ask(kind, RELOAD, now);
            }
            Err(errors) => self.reload_failed(errors, now),
        }
    }

    /// Passes all sockets and the files of a configuration to the workers: a worker takes those of the
    /// addresses that it does not have.
    fn pass(&self, bound: &[Kept], files: &OwnedFd) {
        for (index, worker) in self.workers.iter().enumerate() {
            if !worker.is_ready {
                continue;
            }
            let passed = self.sockets.offers(index, bound).and_then(|mut offers| {
                offers.push(files_offer(files)?);
                worker.pass(&offers)
            });
            if let Err(error) = passed {
                warn!("worker {index} got no files: {error}");
            }
        }
    }

    /// Looks at the files, and reads them again after a change.
    pub(super) fn look(&mut self, now: Instant) {
        let every = look_every(&self.config).filter(|_| now >= self.look_at);
        let Some(every) = every else {
            return;
        };
        self.look_at = now.after(every);
        if self.reloading.is_some() || self.shutdown.is_stopping() {
            return;
        }
        if let Some(files) = self.source.look(&self.config, Some(&self.files)) {
            self.begin_reload_of(files, None, now);
        }
    }

    fn candidate(&mut self, files: std::io::Result<ConfigFiles>) -> Result<Candidate, Vec<String>> {
        let explain = |error: std::io::Error| vec![error.to_string()];
        let files = files.map_err(explain)?;
        let Loaded {
            config, read_at, ..
        } = self.source.load(&files)?;
        let mut none = Inherited::default();
        let bound = self.sockets.bind(&config, self.workers.len(), &mut none);
        let bound = bound.map_err(explain)?;
        let admin = self.front.bind(&config.admin, &mut none).map_err(explain)?;
        let asked = self.workers.iter().map(Worker::pid).collect();
        Ok(Candidate {
            files: files.to_memory().map_err(explain)?,
            asked,
            config,
            read_at,
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
        let is_taken = |(status, _): &Said| *status == 200;
        let answers = || said.iter().filter_map(|(_, said)| said.as_ref());
        let summary = answers().find(|said| is_taken(said));
        let summary = summary.map(|(_, body)| member(body));
        if self.shutdown.is_stopping() {
            return self.reload_failed(vec![STOPS.to_owned()], now);
        }
        let Some(summary) = summary else {
            if said.iter().any(|(_, said)| said.is_none()) {
                // A worker that is only late would take the configuration after all.
                self.pass(&[], &self.files);
                self.ask(Kind::Order, RELOAD, now);
            }
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
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let said = said.iter().find(|(asked, _)| *asked == index);
            let said = said.and_then(|(_, said)| said.as_ref());
            // A worker that has started meanwhile has the configuration of before.
            let is_same = candidate.asked.get(index) == Some(&worker.pid());
            if worker.pid().is_none() || (is_same && said.is_some_and(is_taken)) {
                continue;
            }
            let why = said.map_or("it gave no answer", |(_, body)| body.trim());
            warn!(
                "worker {index} has not taken the configuration, and is started again with it: {why}"
            );
            worker.kill();
        }
        self.sockets.set(candidate.bound, &candidate.config);
        let registry = self.poll.registry();
        self.front
            .set(&candidate.config.admin, candidate.admin, registry, now);
        self.shutdown
            .set_grace(candidate.config.settings.timeouts.shutdown);
        self.level.configure(candidate.config.log_level);
        self.counts.set_clients(candidate.config.shared_clients());
        let summary = summary + &of_supervisor(&self.config, &candidate.config);
        self.config = candidate.config;
        self.files = candidate.files;
        self.read_at = candidate.read_at;
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
        let waiting = self.reloading.take().flatten();
        self.respond_all(
            waiting.into_iter().collect(),
            AdminCommand::Reload,
            result,
            now,
        );
        if core::mem::take(&mut self.reloads_again) {
            self.begin_reload(None, now);
        }
    }
}

/// Returns the files of a configuration, as they travel to a worker.
pub(super) fn files_offer(files: &OwnedFd) -> std::io::Result<Offer> {
    Ok(Offer {
        name: FILES.to_owned(),
        is_admin: false,
        owns_file: false,
        socket: files.try_clone()?,
    })
}

/// Returns the summary of a reload, as a worker has written it.
fn member(body: &str) -> String {
    let json = Json::parse(body.as_bytes());
    let summary = json.as_ref().and_then(|json| json.get("summary"));
    let summary = summary.and_then(Json::text);
    summary.unwrap_or("configuration read").to_owned()
}
