//! `cargo xtask`: builds, checks, demonstrates and tests.

mod agreement;
mod arch;
mod bench;
mod build;
mod check;
mod demo;
mod drivers;
mod ensure;
mod fuzz;
mod kill;
mod machine;
mod recording;
mod sessions;
mod step;
mod test;
mod tools;
mod transparency;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, checks, demonstrates and tests Cordon.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the eBPF object, then the `cordon` binary that embeds it.
    Build(build::Build),
    /// Build the eBPF object only.
    Ebpf(build::Ebpf),
    /// Run every static check and the unit tests.
    Check(check::Check),
    /// Check which module may use which.
    Arch,
    /// Show an agent's session through Cordon, from the kernel hook to the evidence.
    Demo(demo::Demo),
    /// Let PostgreSQL judge the analysis of its own regression suite, TPC-H and TPC-DS.
    TestAgreement(agreement::TestAgreement),
    /// Compare what psql prints of PostgreSQL's regression suite, directly and through Cordon.
    TestTransparency(transparency::TestTransparency),
    /// Run the drivers' own test suites, directly and through Cordon.
    TestDrivers(drivers::TestDrivers),
    /// Hold thousands of sessions at once, and let hundreds of them work.
    TestSessions(sessions::TestSessions),
    /// Kill the daemon at random moments under load.
    TestKill(kill::TestKill),
    /// Install Cordon on a machine of its own with systemd, and boot it.
    TestMachine(machine::TestMachine),
    /// Record a large session, and read it back in flat memory.
    TestRecording(recording::TestRecording),
    /// Measure what recording and syncing the evidence cost.
    BenchEvidence(recording::BenchEvidence),
    /// Measure what it costs to understand statements.
    Bench(bench::Bench),
    /// Fuzz a target, guided by coverage.
    Fuzz(fuzz::Fuzz),
    /// Run every test, those with the kernel, PostgreSQL and drivers included.
    Test(test::Test),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Build(build) => build.run(),
        Command::Ebpf(ebpf) => ebpf.run(),
        Command::Check(check) => check.run(),
        Command::Arch => arch::run(),
        Command::Demo(demo) => demo::run(&demo),
        Command::TestAgreement(agreement) => agreement::run(&agreement),
        Command::TestTransparency(transparency) => transparency::run(&transparency),
        Command::TestDrivers(drivers) => drivers::run(&drivers),
        Command::TestSessions(sessions) => sessions::run(&sessions),
        Command::TestKill(kill) => kill::run(&kill),
        Command::TestMachine(machine) => machine::run(&machine),
        Command::TestRecording(recording) => recording::test(&recording),
        Command::BenchEvidence(bench) => recording::bench(&bench),
        Command::Bench(bench) => bench.run(),
        Command::Fuzz(args) => fuzz::execute(&args),
        Command::Test(test) => test::run(&test),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", step::red("error:"));
            ExitCode::FAILURE
        }
    }
}
