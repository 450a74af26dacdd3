DROP TABLE nexus.daily_reports;
DROP TABLE nexus.installation;
DROP TABLE nexus.stale_marks;
DROP TABLE nexus.hourly_tables;
DROP TABLE public.workflow_metrics;
DROP TABLE public.hourly_workflow_metrics;
DROP TABLE public.hourly_signal_aggregates;
