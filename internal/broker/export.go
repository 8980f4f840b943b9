package broker

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/mqadmin/mqadmin/internal/graphite"
	"github.com/mqadmin/mqadmin/internal/systree"
)

// exportMetrics publishes on $SYS and pushes to Graphite, as the settings say,
// until ctx ends.
func (b *Broker) exportMetrics(ctx context.Context, group *errgroup.Group) {
	tree := systree.New(systree.Config{
		Node: b.name, Settings: b.systreeSettings, Samples: b.metrics.Samples,
		Ready: b.router.Ready, Publish: b.host.PublishAlways, Metrics: b.metrics, Logger: b.log.With("part", "systree"),
	})
	pusher := graphite.New(graphite.Config{
		Settings: b.graphiteSettings, Samples: b.metrics.Samples,
		Dial: b.sys.Dial, Metrics: b.metrics, Logger: b.log.With("part", "graphite"),
	})
	group.Go(func() error { tree.Run(ctx); return nil })
	group.Go(func() error { pusher.Run(ctx); return nil })
}

// systreeSettings are those in force.
func (b *Broker) systreeSettings() systree.Settings {
	c := b.live.config()
	return systree.Settings{
		Enabled: c.Flag("systree_enabled"), Interval: c.Duration("systree_interval"), Mountpoint: c.String("systree_mountpoint"),
		QoS: byte(c.Int("systree_qos")), Retain: c.Flag("systree_retain"),
	}
}

// graphiteSettings are those in force.
func (b *Broker) graphiteSettings() graphite.Settings {
	c := b.live.config()
	return graphite.Settings{
		Enabled: c.Flag("graphite_enabled"), Host: c.String("graphite_host"), Port: c.Int("graphite_port"),
		Interval: c.Duration("graphite_interval"), ConnectTimeout: c.Duration("graphite_connect_timeout"),
		ReconnectTimeout: c.Duration("graphite_reconnect_timeout"), APIKey: c.String("graphite_api_key"), Prefix: c.String("graphite_prefix"),
		IncludeLabels: c.Flag("graphite_include_labels"),
	}
}
