//! Roles that are made for jobs, and their end.
//!
//! What a job may do is held by a role without login, one for each set of privileges
//! (`cordon_grant_..`); the job's own role (`cordon_job_..`) is a member of it and has nothing else.
//! So a job's beginning and end touch no table's privileges, and other sessions' views of the catalog
//! stay what they are. Names carry a mark of this host and of the database, so that nobody else's
//! roles are taken for leftovers.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{
    Admin, AdminError, Credential, CredentialError, admin::AdminClient, objects::Objects,
    operation::Operation, privileges::Privileges,
};
use crate::{
    identity::{JobIdentity, Life, Principal},
    policy::{Admission, GrantRole, JOB_ROLE_PREFIX, Policy},
};

/// Names of roles that hold what a grant gives begin so.
const GRANT_ROLE_PREFIX: &str = "cordon_grant_";
/// How often an operation is tried that met another one.
const TRIES: u32 = 6;
/// How long after a failure the end of a role is tried again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// Pause between looks at sessions that are ending.
const SESSIONS_PAUSE: Duration = Duration::from_millis(5);
/// How often sessions that do not end are told to.
const SESSIONS_LOOKS: u32 = 2000;

/// What became of a job's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// It was made.
    Made,
    /// It holds other privileges since the policy, or what there is in the database, has changed.
    Changed,
    /// Its sessions are ended, and it is gone.
    Removed,
    /// Its sessions are ended; it has no login and no rights, and stays, since it owns objects.
    Left,
}

/// Where changes of roles are recorded.
pub trait RoleLedger: Send + Sync {
    /// Records a change. `job`: if it is known.
    fn role_changed(&self, database: &str, role: &str, job: Option<&str>, change: RoleChange);
}

/// The roles of jobs in one database.
pub struct JobRoles {
    database: String,
    /// 8 hex digits, of this host.
    mark: String,
    /// 8 hex digits, of the database.
    place: String,
    admin: Admin,
    procedures: bool,
    connections: u32,
    max_duration: Duration,
    ledger: Arc<dyn RoleLedger>,
    jobs: Mutex<HashMap<String, Arc<Entry>>>,
    /// Grants' roles that hold what their names say. Held while a job's role is made, so that its
    /// grant's role is not taken for a leftover.
    grants: tokio::sync::Mutex<HashSet<String>>,
    /// How many jobs have been given a role that is not gone yet.
    count: watch::Sender<usize>,
}

struct Entry {
    job: Arc<JobIdentity>,
    life: Life,
    role: tokio::sync::Mutex<Option<Made>>,
}

struct Made {
    credential: Credential,
    holds: String,
}

/// What the configuration says of a database's roles.
pub struct Settings {
    /// The database's configured name.
    pub database: String,
    /// The host's mark: 8 hex digits.
    pub mark: String,
    /// It calls procedures instead of making roles itself.
    pub procedures: bool,
    /// Most connections of a role at once.
    pub connections: u32,
    /// No job lives longer.
    pub max_duration: Duration,
}

impl JobRoles {
    /// Nothing is made yet.
    pub fn new(settings: Settings, admin: Admin, ledger: Arc<dyn RoleLedger>) -> Arc<Self> {
        let place = digest(&SHA256, settings.database.as_bytes());
        let place = place.as_ref().first_chunk::<4>().copied();
        Arc::new(Self {
            place: format!("{:08x}", u32::from_be_bytes(place.unwrap_or_default())),
            database: settings.database,
            mark: settings.mark,
            admin,
            procedures: settings.procedures,
            connections: settings.connections,
            max_duration: settings.max_duration,
            ledger,
            jobs: Mutex::default(),
            grants: tokio::sync::Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    /// The name of a job's role, whether it is made yet or not. As random as the job's id.
    pub fn name(&self, job: &JobIdentity) -> String {
        let id = job.id().strip_prefix("job-").unwrap_or(job.id());
        format!("{JOB_ROLE_PREFIX}{}_{id}_{}", self.mark, self.place)
    }

    /// What a session of the job logs in with; makes the role if it is the job's first.
    ///
    /// # Errors
    /// If the role cannot be made, or the job has ended.
    pub async fn credential(
        self: &Arc<Self>,
        principal: &Principal,
        admission: &Admission,
    ) -> Result<Credential, CredentialError> {
        let entry = self.entry(principal);
        let mut role = entry.role.lock().await;
        // Whoever ends the role waits for this lock, and finds what is made here.
        if !entry.life.is_live() {
            return Err(CredentialError::JobEnded);
        }
        if let Some(made) = &*role {
            return Ok(made.credential.clone());
        }
        let made = self.make(&entry.job, admission).await?;
        let credential = made.credential.clone();
        *role = Some(made);
        Ok(credential)
    }

    fn entry(self: &Arc<Self>, principal: &Principal) -> Arc<Entry> {
        let mut jobs = self.lock();
        let id = principal.job().id();
        if let Some(entry) = jobs.get(id) {
            return entry.clone();
        }
        let entry = Arc::new(Entry {
            job: principal.job().clone(),
            life: principal.life().clone(),
            role: tokio::sync::Mutex::default(),
        });
        jobs.insert(id.to_owned(), entry.clone());
        self.count.send_replace(jobs.len());
        tokio::spawn(self.clone().follow(entry.clone()));
        entry
    }

    /// Ends the role with the job.
    async fn follow(self: Arc<Self>, entry: Arc<Entry>) {
        entry.life.ended().await;
        let made = entry.role.lock().await.take();
        if let Some(made) = made {
            self.end(&made.credential.user, Some(entry.job.id())).await;
        }
        let left = {
            let mut jobs = self.lock();
            jobs.remove(entry.job.id());
            jobs.len()
        };
        self.count.send_replace(left);
    }

    async fn make(&self, job: &JobIdentity, admission: &Admission) -> Result<Made, AdminError> {
        let role = self.name(job);
        let random = SystemRandom::new();
        let mut bytes = Zeroizing::new([0; 32]);
        let password = random
            .fill(bytes.as_mut())
            .map(|()| Zeroizing::new(BASE64.encode(*bytes)));
        let Ok(password) = password else {
            return Err(AdminError::Password {
                user: role,
                reason: "the system has no randomness".to_owned(),
            });
        };
        // The server never sees the password itself, nor do its logs.
        let verifier = Zeroizing::new(postgres_protocol::password::scram_sha_256(
            password.as_bytes(),
        ));
        let client = self.admin.connect().await?;
        let objects = Objects::read(&client).await?;
        let privileges = Privileges::of(admission.grants(), &objects);
        let mut grants = self.grants.lock().await;
        let holds = self.hold(&client, &privileges, &mut grants).await?;
        let make = Operation::Make {
            role: &role,
            verifier: &verifier,
            seconds: self.max_duration.as_secs().max(1),
            connections: self.connections,
            holds: &holds,
        };
        let made = match self.run(&client, &make).await {
            // An earlier try that this side saw fail, and the server did not.
            Err(AdminError::Refused { code, .. }) if code == "42710" => {
                self.run(&client, &Operation::Remove { role: &role })
                    .await?;
                self.run(&client, &make).await
            }
            other => other,
        };
        made?;
        drop(grants);
        tracing::info!(
            role,
            database = self.database,
            job = job.id(),
            "role made for a job"
        );
        self.ledger
            .role_changed(&self.database, &role, Some(job.id()), RoleChange::Made);
        Ok(Made {
            credential: Credential {
                user: role,
                password: Zeroizing::new(password.as_bytes().to_vec()),
            },
            holds,
        })
    }

    /// The name of the role that holds these privileges, made if there is none.
    async fn hold(
        &self,
        client: &AdminClient,
        privileges: &Privileges,
        grants: &mut HashSet<String>,
    ) -> Result<String, AdminError> {
        let role = format!(
            "{GRANT_ROLE_PREFIX}{}_{}_{}",
            self.mark,
            privileges.digest(),
            self.place
        );
        if !grants.contains(&role) {
            let privileges = privileges.to_json().to_string();
            self.run(
                client,
                &Operation::Hold {
                    role: &role,
                    privileges: &privileges,
                },
            )
            .await?;
            grants.insert(role.clone());
        }
        Ok(role)
    }

    async fn run(
        &self,
        client: &AdminClient,
        operation: &Operation<'_>,
    ) -> Result<String, AdminError> {
        let mut tries = 1;
        loop {
            match operation.run(client, self.procedures).await {
                Err(error) if error.is_passing() && tries < TRIES => {
                    tokio::time::sleep(RETRY_FIRST * tries).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// Ends the sessions of a role and removes it, however often that has to be tried.
    async fn end(&self, role: &str, job: Option<&str>) {
        let began = Instant::now();
        let mut pause = RETRY_FIRST;
        let change = loop {
            match self.try_end(role).await {
                Ok(change) => break change,
                Err(error) => {
                    tracing::error!(
                        role,
                        database = self.database,
                        error = %chain(&error),
                        "the role of an ended job cannot be removed; trying again"
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MOST);
                }
            }
        };
        if change == RoleChange::Left {
            tracing::warn!(
                role,
                database = self.database,
                "the role of an ended job owns objects; it has neither login nor rights, and stays until somebody takes them over (REASSIGN OWNED) or removes them"
            );
        } else {
            tracing::info!(role, took = ?began.elapsed(), "role of an ended job removed");
        }
        self.ledger.role_changed(&self.database, role, job, change);
    }

    async fn try_end(&self, role: &str) -> Result<RoleChange, AdminError> {
        let client = self.admin.connect().await?;
        // Twice at least: only a look after NOLOGIN has been committed says that nobody is left.
        let mut looks = 0;
        loop {
            let found = self.run(&client, &Operation::End { role }).await?;
            looks += 1;
            if found == "0" && looks > 1 {
                break;
            }
            if looks > SESSIONS_LOOKS {
                return Err(AdminError::Timeout);
            }
            if found != "0" {
                tokio::time::sleep(SESSIONS_PAUSE).await;
            }
        }
        self.drop_role(&client, role).await
    }

    async fn drop_role(&self, client: &AdminClient, role: &str) -> Result<RoleChange, AdminError> {
        let answer = self.run(client, &Operation::Remove { role }).await?;
        Ok(if answer == "left" {
            RoleChange::Left
        } else {
            RoleChange::Removed
        })
    }

    /// Brings the privileges of live roles in line with the policy and with what there is in the
    /// database. Roles of jobs to which the policy gives none any more are ended.
    pub async fn refresh(&self, policy: &Arc<Policy>) {
        let entries: Vec<Arc<Entry>> = self.lock().values().cloned().collect();
        let mut seen: Option<(AdminClient, Objects)> = None;
        for entry in entries {
            let mut role = entry.role.lock().await;
            let Some(made) = &mut *role else { continue };
            let admission = policy.admit_job(&entry.job, &self.database);
            let Some(admission) = admission.ok().filter(|a| *a.role() == GrantRole::PerJob) else {
                // Nobody makes it anew before it is gone: the lock is held.
                self.end(&made.credential.user, Some(entry.job.id())).await;
                *role = None;
                continue;
            };
            let refreshed = match self.look(&mut seen).await {
                Ok((client, objects)) => {
                    let privileges = Privileges::of(admission.grants(), objects);
                    self.change(client, &entry.job, made, &privileges).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = refreshed {
                seen = None;
                tracing::error!(
                    role = made.credential.user,
                    database = self.database,
                    error = %chain(&error),
                    "the privileges of a job's role cannot be brought in line with the policy"
                );
            }
        }
    }

    /// A connection, and what there is in the database; once for all roles.
    async fn look<'s>(
        &self,
        seen: &'s mut Option<(AdminClient, Objects)>,
    ) -> Result<&'s (AdminClient, Objects), AdminError> {
        if seen.is_none() {
            let client = self.admin.connect().await?;
            let objects = Objects::read(&client).await?;
            return Ok(seen.insert((client, objects)));
        }
        seen.as_ref().ok_or(AdminError::Timeout)
    }

    async fn change(
        &self,
        client: &AdminClient,
        job: &JobIdentity,
        made: &mut Made,
        privileges: &Privileges,
    ) -> Result<(), AdminError> {
        let mut grants = self.grants.lock().await;
        let holds = self.hold(client, privileges, &mut grants).await?;
        if holds == made.holds {
            return Ok(());
        }
        let role = &made.credential.user;
        let change = Operation::Change {
            role,
            holds: &holds,
        };
        self.run(client, &change).await?;
        made.holds = holds;
        self.ledger
            .role_changed(&self.database, role, Some(job.id()), RoleChange::Changed);
        Ok(())
    }

    /// Removes roles of this host and database whose jobs are gone, after a crash above all, and
    /// grants' roles that nobody needs. How many are left over.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub async fn clean(&self) -> Result<usize, AdminError> {
        let client = self.admin.connect().await?;
        let of = |prefix: &str| format!("^{prefix}{}_[0-9a-f]{{16}}_{}$", self.mark, self.place);
        let mut left = 0;
        for role in roles(&client, &of(JOB_ROLE_PREFIX), false).await? {
            if self.is_live(&role) {
                continue;
            }
            match self.try_end(&role).await? {
                RoleChange::Left => left += 1,
                change => {
                    tracing::info!(role, database = self.database, "leftover role removed");
                    self.ledger
                        .role_changed(&self.database, &role, None, change);
                }
            }
        }
        let mut grants = self.grants.lock().await;
        for role in roles(&client, &of(GRANT_ROLE_PREFIX), true).await? {
            if self.drop_role(&client, &role).await? == RoleChange::Left {
                left += 1;
            }
            grants.remove(&role);
        }
        Ok(left)
    }

    fn is_live(&self, role: &str) -> bool {
        let jobs: Vec<Arc<Entry>> = self.lock().values().cloned().collect();
        jobs.iter().any(|entry| self.name(&entry.job) == role)
    }

    /// Returns when no job has a role: once all jobs have ended, when the roles of all are gone.
    pub async fn settled(&self) {
        // The sender lives as long as this.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Entry>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Roles of these names; `unused`: those that have no job's role among their members.
async fn roles(client: &AdminClient, names: &str, unused: bool) -> Result<Vec<String>, AdminError> {
    const ROLES: &str = "SELECT r.rolname::text FROM pg_roles AS r WHERE r.rolname ~ $1 AND NOT ($2 AND EXISTS \
        (SELECT FROM pg_auth_members AS m JOIN pg_roles AS j ON j.oid = m.member WHERE m.roleid = r.oid AND j.rolname ~ '^cordon_job_')) ORDER BY 1";
    let failed = |error| AdminError::new("looking for roles of jobs that are gone", error);
    let rows = client
        .query(ROLES, &[&names, &unused])
        .await
        .map_err(failed)?;
    rows.iter()
        .map(|row| row.try_get(0).map_err(failed))
        .collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
