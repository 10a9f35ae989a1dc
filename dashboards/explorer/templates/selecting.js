// What becomes a file: tables that the server hands over as text, and the picture of the map.
explorer.download = (name, content) => {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
explorer.save = (text) => {
  const { name, content } = JSON.parse(text || "{}");
  if (name) explorer.download(name, new Blob([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))]));
};
