//! Child processes that cannot outlive the test process, however it ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// A port that nothing listens on at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// The first of these programs that is installed; a missing server is a loud failure that says how to install it.
pub(crate) fn program(names: &[&str], package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders
        .iter()
        .flat_map(|folder| names.iter().map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("none of {names:?} is installed: run tests/run, or `apt-get install {package}`"))
}

type Job = (Command, Sender<std::io::Result<Child>>);

/// The kernel kills a child with the *thread* that made it, so one thread that never ends makes them all.
static SPAWNER: LazyLock<Mutex<Sender<Job>>> = LazyLock::new(|| {
    let (sender, receiver): (Sender<Job>, Receiver<Job>) = channel();
    std::thread::spawn(move || {
        for (mut command, answer) in receiver {
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

/// Starts `program` so that it dies with us; as `user` if we are root and it refuses to run as root.
pub(crate) fn start(program: &Path, arguments: &[&str], user: Option<&str>, log: &Path) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user.filter(|_| nix::unistd::Uid::effective().is_root()) {
        command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    let log = std::fs::File::create(log).expect("the log file can be made");
    command.arg(program).args(arguments).current_dir("/").stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a file handle can be cloned")).stderr(log);
    let (sender, receiver) = channel();
    SPAWNER.lock().expect("no spawner panics").send((command, sender)).expect("the spawner lives");
    receiver
        .recv()
        .expect("the spawner answers")
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()))
}

/// Waits until something accepts connections on the port; shows the server's log if it never does.
pub(crate) fn wait_for_port(port: u16, log: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            panic!("nothing listens on port {port} after 60 s; its log says:\n{log}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
