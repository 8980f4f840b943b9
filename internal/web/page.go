package web

import (
	"embed"
	"net/http"
	"path"
)

// page is the status page: it asks for /status.json and draws what it says.
//
//go:embed page
var page embed.FS

// pageRoutes serves the status page.
func pageRoutes() map[string]http.Handler {
	out := map[string]http.Handler{}
	for url, file := range map[string]string{
		"/status": "status.html", "/status/status.js": "status.js", "/status/status.css": "status.css",
	} {
		out[url] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, page, path.Join("page", file))
		})
	}
	return out
}
