//! Authentication: the last decision about a request.

use std::rc::Rc;

use super::super::auth::{Asking, AuthDecision, AuthEnv, SuspendedRequest};
use super::super::command::ListenerKind;
use super::super::log_entry::AccessLogEntry;
use super::super::rules::ServiceRules;
use super::super::tries::Verdict;
use super::replies::unauthorized_reply;
use super::{Grants, Received, Reception};
use crate::policy::admission::RouteMatch;
use crate::policy::forward::Peer;
use crate::policy::request::Request;

impl Reception<'_> {
    /// Lets a request in to a service that does not take everybody, or refuses it, or lets it wait.
    pub(super) fn authorize(
        &mut self,
        request: &Request<'_>,
        (route, service): (RouteMatch, Rc<ServiceRules>),
        behind: usize,
        mut entry: Box<AccessLogEntry>,
        suspended: Option<Box<SuspendedRequest>>,
    ) -> Received {
        let mut suspended = suspended.unwrap_or_default();
        let held = suspended.rate.take();
        let is_counted = held.is_some();
        let decision = match held {
            Some(held) => self.after_admission(*held, &service, request, &mut entry),
            None => Ok(None),
        };
        let decision = match decision {
            Ok(Some(decision)) => decision,
            Ok(None) => self.authenticate(request, &service, &entry, &mut suspended),
            Err(reply) => return self.reply_and_drain(request, reply, entry),
        };
        let refusal = match decision {
            AuthDecision::Open {
                grant,
                by_authorization,
            } => {
                self.ctx.access_log.note_grant(&mut entry, &grant);
                entry.numbers.verdict = match by_authorization {
                    true => Verdict::Credential,
                    false => Verdict::Key,
                };
                if let Some(limits) = service.rate.rules.as_ref().filter(|_| !is_counted)
                    && let Err(stopped) = self.count_admitted(
                        (limits, &service),
                        request,
                        (&grant, by_authorization),
                        &mut entry,
                    )
                {
                    return self.stop(stopped, request, entry, Some(suspended));
                }
                let grants = Grants {
                    grant: Some(grant),
                    for_client: suspended.progress().take_for_client(),
                    by_authorization,
                };
                return self.begin_exchange(request, (route, service), behind, grants, entry);
            }
            AuthDecision::Wait(lookup, position) => {
                let span = suspended.wait((lookup, position), &service, self.ctx.now);
                return self.suspend(suspended, entry, span);
            }
            AuthDecision::Refused(refusal) => refusal,
        };
        entry.numbers.verdict = Verdict::Refused;
        let mut reply = unauthorized_reply(&refusal);
        if let Some(grant) = suspended.progress().take_for_client() {
            reply.lines.extend_from_slice(grant.client_lines());
        }
        self.reply_and_drain(request, reply, entry)
    }

    /// Asks the providers of a service about a request.
    fn authenticate(
        &mut self,
        request: &Request<'_>,
        service: &ServiceRules,
        entry: &AccessLogEntry,
        suspended: &mut SuspendedRequest,
    ) -> AuthDecision {
        let client = self.clients.get(self.id);
        let asking = Asking {
            id: self.id,
            peer: client.map_or(Peer::Unix, |client| client.peer),
            listener: client.map_or(ListenerKind::Plain, |client| client.listener),
            client: entry.numbers.client,
            request,
            service,
            id_field: entry.id_field(),
        };
        let mut env = AuthEnv {
            ctx: self.ctx,
            limiter: self.limiter,
            accounts: self.clients.accounts(),
            room: self.room,
        };
        self.auth
            .authenticate(asking, suspended.progress(), &mut env)
    }
}
