//! A real browser: headless Chromium, driven through its own driver on a free port.

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

use super::server;

/// How a browser is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) narrow: bool,
    pub(crate) dark: bool,
    /// What it asks for in `Accept-Language`.
    pub(crate) language: &'static str,
}

impl Look {
    pub(crate) const WIDE: Self = Self { narrow: false, dark: false, language: "en" };

    /// As it is named in files.
    pub(crate) fn name(self) -> String {
        let (width, scheme) = (if self.narrow { "narrow" } else { "wide" }, if self.dark { "dark" } else { "light" });
        format!("{}-{width}-{scheme}", self.language)
    }
}

/// One window of a browser that dies with the test.
pub(crate) struct Browser {
    pub(crate) client: Client,
    look: Look,
    driver: Child,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Opens a window; takes a second or two.
    pub(crate) async fn open(look: Look) -> Self {
        let folder = tempfile::Builder::new().prefix("auditor-browser-").tempdir().expect("a folder");
        let (port, log) = (server::free_port(), folder.path().join("driver.log"));
        let driver = server::program(&["chromedriver"], "chromium-driver");
        let listen = format!("--port={port}");
        let driver = server::start(&driver, &[&listen], None, &log);
        let (waited_for, its_log) = (port, log.clone());
        tokio::task::spawn_blocking(move || server::wait_for_port(waited_for, &its_log)).await.expect("it listens");
        let chromium = server::program(&["chromium", "chromium-browser", "google-chrome"], "chromium");
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--hide-scrollbars".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--window-size=1180,820".to_owned(),
            format!("--accept-lang={}", look.language),
            format!("--user-data-dir={}", folder.path().join("profile").display()),
        ];
        arguments.push(format!("--blink-settings=preferredColorScheme={}", u8::from(!look.dark)));
        let mut options = json!({ "binary": chromium, "args": arguments });
        if look.narrow {
            options["mobileEmulation"] = json!({ "deviceMetrics": { "width": 360, "height": 740, "pixelRatio": 2.0 } });
        }
        let capabilities = Capabilities::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("the browser does not start: {error}\n{log}")
            });
        Self { client, look, driver, _folder: folder }
    }

    pub(crate) async fn go(&self, url: &str) {
        self.client.goto(url).await.expect("the browser goes there");
    }

    /// Presses the button with this label.
    pub(crate) async fn press(&self, label: &str) {
        let path = format!("//button[normalize-space()='{label}'] | //a[normalize-space()='{label}']");
        let found = self.client.wait().at_most(Duration::from_secs(10)).for_element(Locator::XPath(&path)).await;
        found.unwrap_or_else(|error| panic!("no button {label:?}: {error}")).click().await.expect("it can be pressed");
    }

    /// Follows the link of the page that leads there.
    pub(crate) async fn follow(&self, url: &str) {
        let path = format!("//a[@href='{url}']");
        let found = self.client.wait().at_most(Duration::from_secs(10)).for_element(Locator::XPath(&path)).await;
        found.unwrap_or_else(|error| panic!("no such link: {error}")).click().await.expect("it can be followed");
    }

    /// Waits until the page has this heading.
    pub(crate) async fn heading(&self, heading: &str) {
        let path = format!("//h1[normalize-space()=\"{heading}\"]");
        let waited = self.client.wait().at_most(Duration::from_secs(15)).for_element(Locator::XPath(&path)).await;
        if waited.is_err() {
            let source = self.client.source().await.unwrap_or_default();
            let url = self.client.current_url().await.map(|url| url.to_string()).unwrap_or_default();
            panic!("no heading {heading:?} on {url}:\n{source}");
        }
    }

    /// Keeps a picture of the page, for whoever wants to look at it.
    pub(crate) async fn picture(&self, name: &str) -> PathBuf {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(format!("{name}-{}.png", self.look.name()));
        std::fs::write(&path, self.client.screenshot().await.expect("a picture")).expect("it is written");
        path
    }

    /// Whether anything of the page is wider than the window.
    pub(crate) async fn overflows(&self) -> bool {
        let wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
        self.client.execute(wide, Vec::new()).await.expect("it is measured").as_bool().expect("yes or no")
    }

    /// Closes the window.
    pub(crate) async fn close(mut self) {
        let _ = self.client.clone().close().await;
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
