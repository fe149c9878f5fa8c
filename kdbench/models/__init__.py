"""The networks: students and teachers whose forward gives Outputs."""
