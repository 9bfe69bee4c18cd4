//! The folder of a [`TestService`]: its configuration and the files beside it.

use super::TestService;

impl TestService {
    /// Puts a file, or another one in its place, beside the configuration; all of it at one moment.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Of a file beside the configuration.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Replaces what stands once in the configuration.
    pub fn edit(&self, from: &str, to: &str) {
        let text = self.read("pushpost.toml");
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        self.write("pushpost.toml", &text.replace(from, to));
    }

    /// Nodes that start from now on have no FCM.
    pub fn without_fcm(&self) {
        let path = self.folder.path().join("pushpost.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (rest, _) = text.split_once("[apps.shop.fcm]").unwrap();
        std::fs::write(&path, rest).unwrap();
    }

    /// Nodes that start from now on serve one more app, which sends through nobody.
    pub fn with_another_app(&self, name: &str) {
        let path = self.folder.path().join("pushpost.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}\n[apps.{name}]\n")).unwrap();
    }

    /// Nodes that start from now on serve one more app, which sends through the same FCM project.
    pub fn with_another_app_of_the_project(&self, name: &str) {
        let text = self.read("pushpost.toml");
        let (_, fcm) = text.split_once("[apps.shop.fcm]").unwrap();
        let fcm = fcm.split("\n[").next().unwrap();
        self.write("pushpost.toml", &format!("{text}\n[apps.{name}.fcm]{fcm}\n"));
    }
}
