DROP TABLE nexus.daily_reports;
DROP TABLE nexus.followed_hours;
DROP TABLE nexus.stale_marks;
DROP TABLE public.workflow_metrics;
DROP TABLE public.hourly_workflow_metrics;
DROP TABLE public.hourly_signal_aggregates;
