//! The program `transfer_funds`, run as a user runs it.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tempfile::TempDir;

type Tested = Result<(), Box<dyn Error>>;

const ACCOUNTS: &str = "id,owner,balance\n1,Ada,1000\n2,Bea,500\n3,Carla,0\n";

/// The built program. `cargo test` and `cargo nextest run` build a package's examples before they
/// run its tests; with `--test` alone they do not.
fn program() -> Command {
    let mut path = std::env::current_exe().expect("a test knows its own path");
    path.pop();
    path.set_file_name("examples");
    path.push(format!("transfer_funds{}", std::env::consts::EXE_SUFFIX));

    let advice = "run `cargo build --example transfer_funds` first";
    let built = modified(&path).unwrap_or_else(|| panic!("no {}: {advice}", path.display()));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("transfer_funds");
    for source in fs::read_dir(sources).into_iter().flatten().flatten() {
        let changed = modified(&source.path());
        assert!(
            changed <= Some(built),
            "{source:?} is newer than the program: {advice}"
        );
    }
    Command::new(path)
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// A directory with input files, and a place for a database.
struct Desk(TempDir);

impl Desk {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self(TempDir::new()?))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, Box<dyn Error>> {
        let path = self.path(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.path("bank.db").display())
    }

    /// The program, with three accounts of Ada, Bea and Carla, and these transfers.
    fn program(&self, transfers: &str) -> Result<Command, Box<dyn Error>> {
        let mut program = program();
        program
            .arg("--accounts")
            .arg(self.file("accounts.csv", ACCOUNTS)?);
        program
            .arg("--transfers")
            .arg(self.file("transfers.csv", transfers)?);
        program.arg("--database-url").arg(self.url());
        Ok(program)
    }

    /// What the database file contains after the run: the sum of the balances, and the length of
    /// the journal.
    async fn books(&self) -> Result<(i64, i64), sqlx::Error> {
        let mut connection = SqliteConnection::connect(&self.url()).await?;
        let sums = "SELECT (SELECT sum(balance) FROM accounts), (SELECT count(*) FROM journal)";
        let books = sqlx::query_as(sums).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(books)
    }
}

struct Printed {
    stdout: String,
    stderr: String,
}

impl Printed {
    fn of(output: Output) -> Self {
        Self {
            stdout: String::from_utf8(output.stdout).expect("the program prints UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("the program prints UTF-8"),
        }
    }

    /// For a run that ends well: the last line says so.
    #[track_caller]
    fn balanced(output: Output) -> Self {
        let status = output.status;
        let printed = Self::of(output);
        let Self { stdout, stderr } = &printed;
        assert!(status.success(), "{status}\n{stdout}\n{stderr}");

        let last = stdout.lines().last().unwrap_or_default();
        let total = last
            .strip_prefix("total before = ")
            .and_then(|rest| rest.split_once(','))
            .map(|(total, _)| total)
            .unwrap_or_default();
        assert!(total.parse::<u128>().is_ok(), "{stdout}");
        assert_eq!(
            last,
            format!("total before = {total}, total after = {total}, open transactions = 0"),
        );
        assert!(stdout.ends_with('\n'));
        let listed: usize = printed
            .rows()
            .filter(|(label, _)| label != "all")
            .map(|row| row.1)
            .sum();
        assert_eq!(listed, printed.count("all"), "{stdout}");
        // No panic is printed, planned or not.
        assert!(!stderr.contains("panicked at"), "{stderr}");
        printed
    }

    /// For a run that is refused: it prints no result, and exits with this code.
    #[track_caller]
    fn refused(output: Output, code: i32) -> Self {
        let status = output.status;
        let printed = Self::of(output);
        assert_eq!(
            status.code(),
            Some(code),
            "{}\n{}",
            printed.stdout,
            printed.stderr
        );
        assert!(!printed.stdout.contains("total"), "{}", printed.stdout);
        printed
    }

    /// The rows of the table: what happened, and how often.
    fn rows(&self) -> impl Iterator<Item = (String, usize)> {
        let table = self
            .stdout
            .lines()
            .skip_while(|line| !line.starts_with("what happened"));
        table.skip(1).map_while(|line| {
            let label = line.get(..30)?.trim_end();
            let count = line[30..].split_whitespace().next()?;
            Some((label.into(), count.replace(',', "").parse().ok()?))
        })
    }

    fn count(&self, label: &str) -> usize {
        self.rows()
            .find(|row| row.0 == label)
            .map_or(0, |row| row.1)
    }
}

#[test]
fn a_run_without_arguments_loses_nothing() -> Tested {
    let desk = Desk::new()?;
    // Run in an empty directory, which is also the one for temporary files.
    let output = program()
        .current_dir(desk.0.path())
        .env("TMPDIR", desk.0.path())
        .output()?;
    let printed = Printed::balanced(output);

    assert_eq!(printed.count("all"), 2200);
    assert_eq!(printed.count("unknown account"), 60);
    assert_eq!(printed.count("amount not above zero"), 44);
    assert_eq!(printed.count("to oneself"), 38);
    assert_eq!(printed.count("malformed row"), 35);
    for label in ["transferred", "too little money", "timed out", "panicked"] {
        assert!(printed.count(label) > 0, "{label}:\n{}", printed.stdout);
    }
    assert!(
        printed.stderr.contains("examples/data/transfers.csv:"),
        "{}",
        printed.stderr
    );
    assert!(
        printed
            .stderr
            .ends_with("and 25 more; --verbose names them all\n")
    );
    // The database is gone, with its directory.
    assert_eq!(fs::read_dir(desk.0.path())?.count(), 0);
    Ok(())
}

#[test]
fn no_seed_and_no_number_of_workers_loses_anything() -> Tested {
    for (seed, workers) in [
        ("2", "1"),
        ("3", "2"),
        ("4", "64"),
        ("18446744073709551615", "999"),
    ] {
        let output = program()
            .args(["--seed", seed, "--workers", workers, "--time-limit", "20"])
            .output()?;
        let printed = Printed::balanced(output);
        assert_eq!(printed.count("all"), 2200);
    }
    Ok(())
}

#[test]
fn no_time_limit_loses_anything_wherever_it_cuts() -> Tested {
    for limit in ["0", "1", "2", "3"] {
        let printed = Printed::balanced(program().args(["--time-limit", limit]).output()?);
        assert_eq!(printed.count("all"), 2200);
    }
    Ok(())
}

#[tokio::test]
async fn bad_rows_are_named_and_the_rest_goes_on() -> Tested {
    let desk = Desk::new()?;
    // A byte order mark, both kinds of line breaks, empty lines, and quotes.
    let transfers = "\u{feff}id,from,to,amount,note\r\n\
        1,1,2,100,\"rent, for May\"\r\n\
        \r\n\
        2,1,2\r\n\
        3,1,2,12.50,\n\
        \n\
        4,1,2,9223372036854775808,\n\
        1,1,2,100,once more\n\
        5,one,2,100,\n\
        6,1,2,,\n\
        7,1,2,100\n\
        8,1,2,9223372036854775807,\n\
        9,1,2,-9223372036854775808,\n\
        10,1,2,0,\n\
        11,1,1,100,\n\
        12,1,9,100,\n\
        13,9,1,100,\n";
    // With this seed none of them is planned to be slow, and with this limit none is slow by
    // chance.
    let patient = ["--seed", "5", "--time-limit", "60000"];
    let printed = Printed::balanced(desk.program(transfers)?.args(patient).output()?);

    let file = desk.path("transfers.csv").display().to_string();
    let expected = [
        "4: rejected: the number of fields is 3, not 5",
        "5: rejected: the amount `12.50` is not a whole number",
        "7: rejected: the amount 9223372036854775808 does not fit 64 bits",
        "8: rejected: the transfer 1 is in line 2 already",
        "9: rejected: the account to take from `one` is not a whole number",
        "10: rejected: the amount is missing",
    ];
    let expected: Vec<_> = expected.iter().map(|row| format!("{file}:{row}")).collect();
    assert_eq!(printed.stderr.lines().collect::<Vec<_>>(), expected);

    for (label, count) in [
        ("transferred", 2),
        ("too little money", 1),
        ("unknown account", 2),
        ("amount not above zero", 2),
        ("to oneself", 1),
        ("malformed row", 6),
        ("all", 14),
    ] {
        assert_eq!(printed.count(label), count, "{label}:\n{}", printed.stdout);
    }
    assert_eq!(desk.books().await?, (1500, 2));
    Ok(())
}

#[test]
fn money_that_an_account_cannot_hold_goes_back() -> Tested {
    let desk = Desk::new()?;
    let accounts = "id,owner,balance\n1,Ada,9223372036854775807\n2,Bea,9223372036854775800\n";
    let transfers = "id,from,to,amount\n1,1,2,8\n2,1,2,7\n3,1,2,9223372036854775800\n";
    let output = program()
        .arg("--accounts")
        .arg(desk.file("accounts.csv", accounts)?)
        .arg("--transfers")
        .arg(desk.file("transfers.csv", transfers)?)
        .args(["--workers", "1", "--time-limit", "60000"])
        .output()?;
    let printed = Printed::balanced(output);
    assert_eq!(printed.count("transferred"), 1);
    assert_eq!(printed.count("more than an account can hold"), 2);
    assert!(
        printed
            .stdout
            .contains("total after = 18446744073709551607,"),
        "{}",
        printed.stdout
    );
    Ok(())
}

#[test]
fn a_malformed_file_is_refused_by_name_and_line() -> Tested {
    let accounts: &[(&[u8], u32, &str)] = &[
        (b"", 1, "the file is empty"),
        (b"\n\n", 1, "the file is empty"),
        (b"1,Ada,1000\n", 1, "not the header"),
        (b"\nid,owner\n", 2, "not the header"),
        (b"id,owner,balance\n1,Ada,1\n2,B\xe9a,2\n", 3, "not UTF-8"),
        (
            b"id,owner,balance\r\n1,Ada,1\r\n\r\n2,Bea\r\n",
            4,
            "the number of fields is 2, not 3",
        ),
        (
            b"id,owner,balance\n1,Ada,ten\n",
            2,
            "the balance `ten` is not a whole number",
        ),
        (
            b"id,owner,balance\n1,Ada,9223372036854775808\n",
            2,
            "does not fit 64 bits",
        ),
        (b"id,owner,balance\n1,Ada,-1\n", 2, "below zero"),
        (
            b"id,owner,balance\n1,Ada,1\n2,Bea,2\n1,Ada,1\n",
            4,
            "the account 1 is in line 2 already",
        ),
        (
            b"id,owner,balance\n1,\"Ada,1\n2,Bea,2\n",
            2,
            "a `\"` missing",
        ),
    ];
    let transfers: &[(&[u8], u32, &str)] = &[
        (b"", 1, "the file is empty"),
        (b"id,from,to\n1,1,2\n", 1, "not the header"),
        (b"id,owner,balance\n", 1, "not the header"),
        (b"id,from,to,amount\n1,1,2,5\n\xff,1,2,5\n", 3, "not UTF-8"),
        (
            b"id,from,to,amount,note\n1,1,2,5,\n2,1,2,5,\"rent\n3,1,2,5,\n",
            3,
            "a `\"` missing",
        ),
    ];
    let desk = Desk::new()?;
    let cases = accounts.iter().map(|case| ("--accounts", case));
    for (option, (content, line, problem)) in
        cases.chain(transfers.iter().map(|case| ("--transfers", case)))
    {
        let file = desk.file("bad.csv", content)?;
        let output = program()
            .arg(option)
            .arg(&file)
            .args(["--database-url", &desk.url()])
            .output()?;
        let Printed { stdout, stderr } = Printed::refused(output, 1);
        let message = format!("error: {}:{line}: ", file.display());
        assert!(
            stderr.contains(&message) && stderr.contains(problem),
            "{message}{problem}:\n{stderr}"
        );
        assert_eq!(stdout, "");
        assert!(!desk.path("bank.db").exists(), "{message}{problem}");
    }
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_named() -> Tested {
    let desk = Desk::new()?;
    let missing = desk.path("missing.csv");
    for option in ["--accounts", "--transfers"] {
        let output = program().arg(option).arg(&missing).output()?;
        let printed = Printed::refused(output, 1);
        let message = format!("error: can't read {}: ", missing.display());
        assert!(printed.stderr.contains(&message), "{}", printed.stderr);
    }
    Ok(())
}

#[test]
fn a_database_that_is_in_use_is_not_touched() -> Tested {
    let desk = Desk::new()?;
    let transfers = "id,from,to,amount\n1,1,2,100\n";
    Printed::balanced(desk.program(transfers)?.output()?);
    let before = fs::read(desk.path("bank.db"))?;

    let printed = Printed::refused(desk.program(transfers)?.output()?, 1);
    assert!(
        printed
            .stderr
            .contains("is in use already: it has 3 tables"),
        "{}",
        printed.stderr
    );
    assert_eq!(fs::read(desk.path("bank.db"))?, before);

    let letter = "Dear Ada, this is no database.".repeat(100);
    desk.file("bank.db", &letter)?;
    let printed = Printed::refused(desk.program(transfers)?.output()?, 1);
    assert!(
        printed.stderr.contains("can't open the database"),
        "{}",
        printed.stderr
    );
    assert_eq!(fs::read_to_string(desk.path("bank.db"))?, letter);
    Ok(())
}

#[test]
fn a_database_without_a_file_is_refused() -> Tested {
    for url in [
        "sqlite::memory:",
        "sqlite://",
        "sqlite://bank.db?mode=memory",
    ] {
        let output = program().args(["--database-url", url]).output()?;
        let printed = Printed::refused(output, 1);
        assert!(
            printed.stderr.contains("has no file"),
            "{url}: {}",
            printed.stderr
        );
    }
    Ok(())
}

#[test]
fn help_tells_of_every_option_and_a_wrong_one_is_refused() -> Tested {
    let output = program().arg("--help").output()?;
    assert!(output.status.success());
    let help = Printed::of(output).stdout;
    for option in [
        "--accounts",
        "--transfers",
        "--database-url",
        "--workers",
        "--seed",
        "--time-limit",
        "--verbose",
    ] {
        assert!(help.contains(option), "{option}:\n{help}");
    }

    for (arguments, problem) in [
        (["--worker-count", "3"], "unexpected argument"),
        (["--workers", "0"], "--workers"),
        (["--seed", "-1"], "-1"),
        (
            ["--database-url", "oracle://localhost/bank"],
            "begins with `sqlite:`, `postgres:` or `mysql:`",
        ),
    ] {
        let printed = Printed::refused(program().args(arguments).output()?, 2);
        assert!(printed.stderr.contains(problem), "{}", printed.stderr);
    }
    Ok(())
}

/// The signal certainly comes in the middle: the program prints a line for each transfer, and the
/// pipe, which is not read until the signal is sent, has no room for all lines.
#[cfg(unix)]
async fn interrupted_by(signal: &str) -> Tested {
    use std::fmt::Write as _;
    use std::io::{BufRead as _, BufReader, Read as _};

    let rows = 20_000;
    let mut transfers = String::from("id,from,to,amount\n");
    for id in 1..=rows {
        let (from, to) = if id % 2 == 0 { (1, 2) } else { (2, 1) };
        writeln!(transfers, "{id},{from},{to},1")?;
    }
    let desk = Desk::new()?;
    let mut child = desk
        .program(&transfers)?
        .arg("--verbose")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut told = BufReader::new(child.stderr.take().ok_or("stderr is piped")?);
    let mut line = String::new();
    while !line.ends_with(": transferred\n") {
        line.clear();
        assert!(
            told.read_line(&mut line)? > 0,
            "it ends before the first transfer does"
        );
    }
    let kill = format!("kill -s {signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status()?.success());

    let mut stderr = String::new();
    told.read_to_string(&mut stderr)?;
    let printed = Printed::balanced(child.wait_with_output()?);
    assert!(stderr.contains("interrupted: "), "{stderr}");
    assert_eq!(printed.count("all"), rows);
    let transferred = printed.count("transferred");
    assert!(transferred > 0 && printed.count("interrupted before it began") > 0);
    assert_eq!(desk.books().await?, (1500, i64::try_from(transferred)?));
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_in_the_middle_loses_nothing() -> Tested {
    interrupted_by("INT").await
}

#[cfg(unix)]
#[tokio::test]
async fn a_termination_in_the_middle_loses_nothing() -> Tested {
    interrupted_by("TERM").await
}
